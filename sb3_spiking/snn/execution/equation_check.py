"""A check that the equations of neurons and surrogates from other packages are those of their SpikingJelly nodes."""

import torch as th
from spikingjelly.activation_based.neuron import BaseNode

from sb3_spiking.snn.execution import autograd
from sb3_spiking.snn.execution.dynamics import Dynamics
from sb3_spiking.snn.execution.populations import run_node

OWN = "sb3_spiking."
"""Package whose neurons have tests of their own."""

_CHECKED: set[tuple[object, object]] = set()


def check_equations(node: BaseNode, dynamics: Dynamics) -> None:
    """
    Compare kernels and node, once per neuron and surrogate that this package does not bring.

    :param node: multi-step SpikingJelly node
    :param dynamics: its dynamics
    :raises ValueError: if spikes or gradients differ; the message says how far
    """
    equations, surrogate = dynamics.equations, dynamics.surrogate
    ours = all(str(module).startswith(OWN) for module in (equations.charge.__module__, surrogate.__module__))
    if ours or (equations, surrogate) in _CHECKED:
        return
    generator = th.Generator().manual_seed(0)
    drawn = dynamics.threshold * th.randn(12, 4, 33, generator=generator), th.randn(12, 4, 33, generator=generator)
    with th.enable_grad():
        results = []
        for execute in (lambda x: autograd.run_population(dynamics, x, len(x)), lambda x: run_node(node, x)):
            current = drawn[0].clone().requires_grad_()
            spikes = execute(current)
            results.append((spikes.detach(), *th.autograd.grad(spikes, current, drawn[1])))
    (fused, gradient), (own, own_gradient) = results
    names = f"{equations.charge.__qualname__} and {surrogate.__qualname__}.derivative"
    if not th.equal(fused, own):
        share = (fused != own).double().mean().item()
        raise ValueError(
            f"the equations of {names} are not those of {type(node).__name__}: {share:.0%} of the spikes differ; check "
            "charge, margin, resets and reset_variables"
        )
    difference = (gradient - own_gradient).abs().max().item()
    if difference > 1e-4 * max(1.0, own_gradient.abs().max().item()):
        raise ValueError(
            f"the equations of {names} are not those of {type(node).__name__}: gradients differ by {difference:.2g}; "
            "check charge_backward, the backward of the reset, kept and the surrogate's derivative"
        )
    _CHECKED.add((equations, surrogate))
