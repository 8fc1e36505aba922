"""Neurons, surrogates, encoders and decoders of another package, by ``"package.module:Name"``."""

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch as th
from matplotlib.figure import Figure
from spikingjelly.activation_based import neuron as sj
from stable_baselines3 import TD3

from sb3_spiking.callbacks import layer_health
from sb3_spiking.plotting import plot_membranes, plot_spike_raster
from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from sb3_spiking.snn.execution import numba_loops
from sb3_spiking.snn.execution.choose import Way, choose_neurons
from sb3_spiking.snn.execution.dynamics import dynamics_of
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.neurons import NEURON_OF_NODE, IntegrateAndFire, Lif, Neuron
from sb3_spiking.snn.operations import cost_of
from sb3_spiking.snn.surrogates import SURROGATES
from tests.conftest import TargetEnv
from tests.snn.test_kernels import by_spikingjelly, compare

PACKAGE = Path(__file__).parent / "outside"
ALL = {
    "neuron": "refractory_neuron:Refractory",
    "neuron_kwargs": {"steps": 1},
    "surrogate": "refractory_neuron:Laplace",
    "encoder": "refractory_neuron:HalfEncoder",
    "decoder": "refractory_neuron:Twice",
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Put the package where Python finds it, as pip would."""
    monkeypatch.syspath_prepend(str(PACKAGE))


def node(surrogate="rect", **constants):
    options = SpikingOptions(neuron="refractory_neuron:Refractory", neuron_kwargs=constants)
    return options.neuron_options().build(SURROGATES[surrogate]())


def test_a_refractory_neuron_by_hand():
    # Fires in the first step, hears nothing for two, fires again.
    current = th.tensor([0.6, 0.9, 0.9, 0.6]).reshape(4, 1, 1)
    assert run_neurons(node(), current).flatten().tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_its_kernels_are_its_node(surrogate):
    current, grad = th.randn(2, 9, 5, 33, dtype=th.float64)
    assert choose_neurons(node(surrogate).double(), current).way is Way.NEURONS
    compare(node(surrogate).double(), current, grad, 1e-12)
    compare(node(surrogate), current.float(), grad.float(), 1e-5)


def test_second_derivatives_are_its_nodes():
    neurons = node("atan").double()
    current, grad = th.randn(2, 6, 3, 8, dtype=th.float64)

    def second(execute):
        x = current.clone().requires_grad_()
        first = th.autograd.grad(execute(x), x, grad, create_graph=True)[0]
        return th.autograd.grad(first.square().sum(), x)[0]

    th.testing.assert_close(second(lambda x: run_neurons(neurons, x)), second(by_spikingjelly(neurons)))


def test_its_kernels_for_gpus_are_those_for_the_cpu():
    pytest.importorskip("triton", reason="the kernels for GPUs are written in Triton: pip install triton")
    from sb3_spiking.snn.execution import triton_loops

    device = "cuda" if th.cuda.is_available() else "cpu"
    dynamics, current, grad = dynamics_of(node()), *th.randn(2, 6, 3, 300)
    results = []
    for loops, place in ((numba_loops, "cpu"), (triton_loops, device)):
        spikes, trace = th.empty(6, 3, 300, device=place), th.empty(2, 6, 3, 300, device=place)
        loops.forward(dynamics, current.to(place), spikes, trace)
        gradients = loops.backward(dynamics, trace, grad.to(place))
        results.append((spikes.cpu(), trace.cpu(), gradients.current.cpu()))
    (spikes, trace, gradient), (gpu_spikes, gpu_trace, gpu_gradient) = results
    assert th.equal(spikes, gpu_spikes)
    assert th.equal(trace, gpu_trace)
    th.testing.assert_close(gradient, gpu_gradient)


def test_it_is_recorded_counted_and_drawn():
    network = SpikingNetwork(3, 2, (16, 16), SpikingOptions(**ALL))
    recording = network.record(th.randn(7, 3))
    for layer, record in zip(network.layers, recording.populations[1:], strict=True):
        assert record.spikes.sum() > 0 or layer.name == "output"
        assert th.equal(record.margin >= 0, record.spikes > 0)
        assert 0.0 <= layer_health(record).rate <= 1.0
    assert cost_of(recording).synops > 0
    for plot in (plot_spike_raster, plot_membranes):
        plot(recording, ax=Figure().add_subplot())
    spikes, margin = record_neurons(network.layers[0].neuron, th.randn(5, 2, 16))
    assert th.equal(margin >= 0, spikes > 0)


def test_a_few_observations_are_decided_as_many(monkeypatch):
    network = SpikingNetwork(3, 2, (16, 16), SpikingOptions(**ALL))
    features = th.randn(4, 3)
    with th.no_grad():
        few = network(features)
    th.testing.assert_close(few, network(features).detach())


def test_an_agent_of_outside_parts_learns_and_survives_a_file(tmp_path):
    model = TD3("PopSANPolicy", TargetEnv(), policy_kwargs={**ALL, "net_arch": [16]}, learning_starts=20, seed=0)
    model.learn(40)
    model.save(tmp_path / "agent.zip")
    loaded = TD3.load(tmp_path / "agent.zip")
    observation = model.observation_space.sample()
    assert (
        loaded.predict(observation, deterministic=True)[0] == model.predict(observation, deterministic=True)[0]
    ).all()
    json.dumps(asdict(loaded.policy.spiking_options))


def test_kernels_of_an_outside_neuron_come_from_the_cache_in_the_next_process(tmp_path):
    program = (
        "import torch as th\n"
        "from sb3_spiking.snn import SpikingNetwork, SpikingOptions\n"
        "from sb3_spiking.snn.execution import numba_loops\n"
        "options = SpikingOptions(neuron='refractory_neuron:Refractory')\n"
        "network = SpikingNetwork(3, 2, (16,), options)\n"
        "equations = options.neuron_options().equations_with('own')\n"
        "print(sum(numba_loops.forward_loop(equations).stats.cache_hits.values()))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGE), *sys.path])
    hits = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [int(run.stdout) for run in hits] == [0, 1]


@pytest.mark.parametrize(
    ("argument", "value", "problem"),
    [
        ("neuron", "no_such_package:Neuron", "cannot be imported"),
        ("neuron", "refractory_neuron:Missing", "cannot be imported"),
        ("neuron", ":Refractory", "cannot be imported"),
        ("neuron", "refractory_neuron:not_a_neuron", "must be a subclass of sb3_spiking.snn.neurons.base.Neuron"),
        ("neuron", "refractory_neuron:Laplace", "must be a subclass"),
        ("surrogate", "refractory_neuron:Refractory", "must be a subclass of .*Surrogate"),
        ("encoder", "refractory_neuron:Refractory", "must be a subclass of .*Encoder"),
        ("decoder", "refractory_neuron:Refractory", "must be a subclass of .*Statistic"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(argument, value, problem):
    with pytest.raises(ValueError, match=rf"{argument}='{value}' {problem}"):
        SpikingOptions(**{argument: value})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"neuron": "refractory_neuron:Forgetful"},
            r"Refractory.charge .* of the spikes differ; check .*reset_variables",
        ),
        (
            {"surrogate": "refractory_neuron:Steep"},
            r"Steep.derivative .* gradients differ by .* surrogate's derivative",
        ),
    ],
)
def test_equations_that_are_not_the_nodes_are_found_before_they_run(options, problem):
    with pytest.raises(ValueError, match=problem):
        SpikingNetwork(3, 2, (16,), SpikingOptions(**options))


def test_a_surrogate_without_a_window_is_measured():
    network = SpikingNetwork(3, 2, (16,), SpikingOptions(surrogate="refractory_neuron:Laplace"))
    window = network.record(th.randn(5, 3)).populations[1].surrogate_window
    assert window == pytest.approx(math.log(2.0) / 2.0, abs=2e-3)
    with th.inference_mode():
        assert network.record(th.randn(5, 3)).populations[1].surrogate_window == window


def test_an_encoder_may_return_spikes():
    network = SpikingNetwork(3, 2, (16,), SpikingOptions(encoder="refractory_neuron:PlainEncoder"))
    features = th.randn(5, 3)
    with th.no_grad():
        few = network(features)
    th.testing.assert_close(few, network(features).detach())
    assert network.record(features).populations[0].exponentials == 3


def test_a_type_of_spikingjelly_has_the_equations_of_one_neuron():
    with pytest.raises(TypeError, match=r"IFNode has the equations of .*IntegrateAndFire"):

        class Other(Neuron):
            name, node = "other", sj.IFNode
            charge = charge_backward = staticmethod(lambda state, x, constants: state)

    assert NEURON_OF_NODE[sj.IFNode] is IntegrateAndFire


def test_half_of_a_neuron_is_refused():
    with pytest.raises(TypeError, match="needs both charge and charge_backward"):

        class Half(Neuron):
            charge = staticmethod(lambda state, x, constants: state)

    with pytest.raises(TypeError, match="must lie in"):

        class Kept(IntegrateAndFire):
            kept = 2


def test_a_subclass_with_another_node_runs_as_that_node():
    class OtherNode(sj.LIFNode):
        """Has dynamics of its own."""

    @dataclass(frozen=True)
    class Inherits(Lif):
        node = OtherNode

    assert Inherits in Lif.__subclasses__()
    assert OtherNode not in NEURON_OF_NODE


def write_neuron(folder, gain):
    (folder / "helpers.py").write_text(f"GAIN = {gain}\n\n\ndef scale(x, one):\n    return x * GAIN * one\n")
    (folder / "scaled.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Any\n"
        "import helpers\n"
        "from helpers import GAIN, scale\n"
        "from spikingjelly.activation_based import neuron as sj\n"
        "from sb3_spiking.snn.neurons import Neuron\n\n\n"
        "class ScaledNode(sj.SimpleBaseNode):\n"
        "    def neuronal_charge(self, x):\n"
        "        self.v = self.v + x * GAIN\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Scaled(Neuron):\n"
        "    name = 'scaled'\n"
        "    node = ScaledNode\n\n"
        "    def build(self, surrogate):\n"
        "        node = ScaledNode(v_threshold=0.5, v_reset=0.0, step_mode='m')\n"
        "        node.surrogate_function = surrogate.build()\n"
        "        return node\n\n"
        "    @staticmethod\n"
        "    def constants_of(node):\n"
        "        return (1.0,)\n\n"
        "    @staticmethod\n"
        "    def charge(state: Any, x: Any, constants: Any) -> Any:\n"
        "        return (state[0] + scale(x, constants[0]),)\n\n"
        "    @staticmethod\n"
        "    def charge_backward(gradient: Any, before: Any, constants: Any) -> Any:\n"
        "        return scale(gradient[0], constants[0]), gradient\n"
    )


def test_an_edit_of_a_helper_makes_the_kernels_of_an_outside_neuron_stale(tmp_path):
    # The check of equations would refuse a stale kernel, as the node is always new.
    program = (
        "import torch as th\n"
        "from sb3_spiking.snn import SpikingNetwork, SpikingOptions\n"
        "SpikingNetwork(3, 2, (16,), SpikingOptions(neuron='scaled:Scaled'))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    for gain in (1.0, 5.0):
        write_neuron(tmp_path, gain)
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
