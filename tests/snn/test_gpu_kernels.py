"""
The kernels for GPUs compute what those for the CPU compute.

Where there is no GPU, Triton's interpreter runs them (see ``conftest``), and what its compiler makes of them for one is
looked at.
"""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch as th
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sb3_spiking.snn import SpikingNetwork, SpikingOptions, learning
from sb3_spiking.snn.execution import autograd, backends
from sb3_spiking.snn.execution import numba_loops as cpu
from sb3_spiking.snn.execution.dynamics import dynamics_of
from sb3_spiking.snn.inputs import Part
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES
from tests.snn.test_kernels import make, resets_of

pytest.importorskip("triton", reason="the kernels for GPUs are written in Triton: pip install triton")
from sb3_spiking.snn.execution import triton_loops as gpu

DEVICE = "cuda" if th.cuda.is_available() else "cpu"

ALL = pytest.mark.parametrize(
    ("neuron", "surrogate", "reset"),
    [(n, s, r) for n in NEURONS for s in SURROGATES for r in resets_of(n)],
)


def equations(neuron, surrogate="rect", reset="hard", detach_reset=False, **kwargs):
    node = make(neuron, reset, **kwargs).build(SURROGATES[surrogate]())
    node.detach_reset = detach_reset
    return dynamics_of(node)


def on_device(given):
    """Bring tensors, and learnt constants, to the GPU if there is one."""
    if isinstance(given, th.Tensor):
        return given.to(DEVICE)
    return None if given is None else given._replace(learnt=on_device(given.learnt))


def compare(neuron, current, grad_spikes, bias=None):
    """Compare spikes, membranes and gradients; the membranes overwrite the current where it is not constant."""
    constant = len(current) < len(grad_spikes)
    results = []
    for execution, place in ((cpu, lambda given: given), (gpu, on_device)):
        known, x = place(neuron), place(current.clone())
        spikes = th.full_like(place(grad_spikes), math.nan)
        trace = spikes.new_full((known.equations.kept, *spikes.shape), math.nan)
        if not constant:
            trace[0], x = x, trace[0]
        execution.forward(known, x, spikes, trace, place(bias))
        gradients = execution.backward(known, trace, place(grad_spikes), constant)
        results.append((spikes.cpu(), trace.cpu(), gradients))
    (spikes, membrane, gradients), (gpu_spikes, gpu_membrane, gpu_gradients) = results
    assert th.equal(gpu_spikes, spikes)
    assert th.equal(gpu_membrane, membrane)
    for ours, theirs in zip(gpu_gradients, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = theirs.abs().max().item() if theirs.numel() > 0 else 0.0
            th.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6 + 1e-5 * scale)


@ALL
@pytest.mark.parametrize("detach_reset", [False, True])
def test_spikes_membranes_and_gradients_are_the_cpus(neuron, surrogate, reset, detach_reset):
    # More than one program, and the last one not full.
    known = equations(neuron, surrogate, reset, detach_reset, threshold=0.7)
    compare(known, *th.randn(2, 6, 3, 300), bias=th.randn(300))


@pytest.mark.parametrize("neuron", sorted(NEURONS))
def test_a_constant_current_is_read_once_and_its_gradient_summed_up(neuron):
    compare(equations(neuron), th.randn(1, 3, 200), th.randn(5, 3, 200))


def test_a_bias_may_lie_anywhere():
    compare(equations("cuba_lif"), *th.randn(2, 5, 3, 200), bias=th.randn(400)[::2])


@given(
    time_steps=st.integers(1, 9),
    batch=st.integers(0, 4),
    features=st.sampled_from([1, 2, 31, 256, 511, 512, 513]),
    neuron=st.sampled_from(sorted(NEURONS)),
    scale=st.sampled_from([0.0, 1e-30, 0.3, 1.0, 30.0]),
    biased=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_any_shape_and_scale(time_steps, batch, features, neuron, scale, biased, seed):
    th.manual_seed(seed)
    # A second-order membrane is squared: from 30 it soon overflows, and infinities have no gradients to compare.
    assume(neuron != "dynamic" or scale < 30.0)
    current, grad_spikes = th.randn(2, time_steps, batch, features)
    compare(equations(neuron), scale * current, grad_spikes, scale * th.randn(features) if biased else None)


@pytest.mark.parametrize("neuron", sorted(NEURONS))
def test_membrane_at_the_threshold_fires(neuron):
    current = th.tensor([[0.5, 0.25, 0.5 + 2**-25, 0.49999997]])
    spikes = th.empty_like(on_device(current))
    gpu.forward(on_device(equations(neuron, threshold=0.5)), on_device(current), spikes)
    assert spikes.tolist() == [[1.0, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize("decay", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("neuron", ["lif", "plif"])
def test_rounding_of_decays_that_are_no_power_of_two(neuron, decay):
    # A quotient that is a product with the reciprocal is a spike elsewhere.
    current = th.randint(-4, 9, (40, 8, 64)).float() / 8
    compare(equations(neuron, membrane_decay=decay), current, th.randn(40, 8, 64))


@pytest.mark.parametrize("initial", [0.0, 0.4995])
def test_regular_spikes_are_the_cpus(initial):
    activity = th.cat([th.rand(3, 400), th.tensor([[0.0, 1.0, 0.999, 0.4995] * 100])])
    own, theirs = (th.full((7, 4, 400), math.nan) for _ in range(2))
    cpu.regular_spikes(activity, theirs, 0.999, initial)
    own = on_device(own)
    gpu.regular_spikes(on_device(activity), own, 0.999, initial)
    assert th.equal(own.cpu(), theirs)


NETWORKS = {
    "popsan": (17, SpikingOptions()),
    "learnt leak, constant current": (17, SpikingOptions(neuron="plif", encoder="analog")),
    "images": (
        (Part("", (2, 8, 8)),),
        SpikingOptions(conv_arch=[[4, 3, 1], [6, 3, 2]], membrane_norm="layer", time_steps=3),
    ),
}


def parameter_gradients(network, inputs):
    network.zero_grad()
    outputs = network(inputs)
    outputs.square().sum().backward()
    return [outputs.detach().cpu(), *(parameter.grad.cpu() for parameter in network.parameters())]


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_learns_as_on_the_cpu(kind, monkeypatch):
    part, options = NETWORKS[kind]
    network = SpikingNetwork(part, 6, [40, 30], options)
    inputs = th.rand(70, 17 if isinstance(part, int) else part[0].size)
    expected = parameter_gradients(network, inputs)
    launched = []
    monkeypatch.setattr(learning, "decode", lambda *_: None)  # with Triton's interpreter the device is the CPU
    monkeypatch.setattr(autograd, "backend_of", lambda tensor: launched.append(tensor) or gpu)
    own = parameter_gradients(network.to(DEVICE), inputs.to(DEVICE))
    assert len(launched) >= 2 * len(network.layers)
    for a, b in zip(own, expected, strict=True):
        th.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_what_triton_lacks_is_told_once_and_the_nodes_run_themselves(monkeypatch):
    def no_compiler(device):
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(gpu, "try_out", no_compiler)
    monkeypatch.setattr(backends, "PLAIN_TENSORS", (SimpleNamespace,))
    tensor = SimpleNamespace(device=th.device("cuda"), dtype=th.float32)
    backends.gpu_problem.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"operation by operation.*Failed to find C compiler"):
            assert "cannot be used" in backends.unsupported(tensor)
        assert "cannot be used" in backends.unsupported(tensor)
        assert backends.gpu_problem.cache_info().misses == 1
    finally:
        backends.gpu_problem.cache_clear()


def test_trying_out_finds_other_spikes(monkeypatch):
    gpu.try_out(DEVICE)
    forward = gpu.forward
    monkeypatch.setattr(gpu, "forward", lambda known, *args: forward(known._replace(threshold=0.75), *args))
    with pytest.raises(RuntimeError, match="something else"):
        gpu.try_out(DEVICE)


COMPILE = """
import torch as th
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver
from sb3_spiking.snn.execution import triton_loops
from sb3_spiking.snn.execution.dynamics import dynamics_of
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES

class Hopper:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = get_current_stream = staticmethod(lambda *args: 0)

driver.set_active(Hopper())
compiled, expected = [], 1
run = JITFunction.run

def compile_only(kernel, *args, grid, warmup, **options):
    compiled.append(run(kernel, *args, grid=grid, warmup=True, **options).asm["ptx"])

JITFunction.run = compile_only
current, spikes, bias = th.zeros(5, 300), th.zeros(5, 300), th.zeros(300)
for neuron in NEURONS.values():
    for reset in neuron.resets:
        constants = {"reset": reset} if "reset" in neuron.__dataclass_fields__ else {}
        for surrogate in SURROGATES.values():
            dynamics = dynamics_of(neuron(**constants).build(surrogate()))
            trace = th.zeros(dynamics.equations.kept, 5, 300)
            triton_loops.backward(dynamics, trace, spikes)
        triton_loops.forward(dynamics, current, spikes, trace, bias)
        triton_loops.forward(dynamics, current[:1], spikes)
        expected += len(SURROGATES) + 2
triton_loops.regular_spikes(current[0], spikes, 0.999, 0.0)
assert len(compiled) == expected
assert all(".entry" in ptx for ptx in compiled)
print(sum("fma." in ptx for ptx in compiled), "contracted")
"""


def test_compiles_for_a_gpu_without_contracting_products_into_sums(tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "0 contracted\n", done.stderr
