"""Nodes and surrogates that no kernel knows work everywhere: they are slower, and nothing else."""

import math

import pytest
import torch as th
from matplotlib.figure import Figure
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate as sj_surrogate
from torch import nn

from sb3_spiking.callbacks import layer_health
from sb3_spiking.plotting import plot_firing_rates, plot_membranes, plot_spike_raster
from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.operations import cost_of
from sb3_spiking.snn.surrogates import SURROGATES, Rect, window


class Adaptive(sj.SimpleBaseNode):
    """Its threshold rises with every spike."""

    def __init__(self):
        super().__init__(step_mode="m")
        self.register_memory("raised", 0.0)

    def neuronal_charge(self, x):
        self.v = 0.5 * self.v + x

    def neuronal_fire(self):
        return self.surrogate_function(self.v - self.v_threshold - self.raised)

    def neuronal_reset(self, spike):
        super().neuronal_reset(spike)
        self.raised = 0.5 * self.raised + spike


class OwnSurrogate(sj_surrogate.SurrogateFunctionBase):
    """Has no ``alpha`` and no kernel."""

    @staticmethod
    def spiking_function(x):
        return sj_surrogate.Sigmoid.spiking_function(x, 3.0)

    @staticmethod
    def primitive_function(x):
        return (3.0 * x).sigmoid()


class Silent(nn.Module):
    """Fires without a surrogate."""

    def reset(self):
        pass

    def forward(self, current):
        return (current > 0).to(current)


class ModuleSurrogate(nn.Module):
    """Is a module, and none of SpikingJelly's."""

    def forward(self, margin):
        return OwnSurrogate()(margin)


def fire(margin):
    return OwnSurrogate()(margin)


NODES = {
    "a function": lambda: sj.IFNode(surrogate_function=fire, step_mode="m"),
    "a module": lambda: sj.IFNode(surrogate_function=ModuleSurrogate(), step_mode="m"),
    "adaptive": Adaptive,
    "exponential": lambda: sj.EIFNode(step_mode="m"),
    "own surrogate": lambda: sj.IFNode(surrogate_function=OwnSurrogate(), step_mode="m"),
    "erf": lambda: sj.IFNode(surrogate_function=sj_surrogate.Erf(), step_mode="m"),
    "leaks its input": lambda: sj.LIFNode(decay_input=True, step_mode="m", v_threshold=0.25),
}


def network_of(node, **options):
    network = SpikingNetwork(3, 2, (16, 16), SpikingOptions(encoder_population=4, **options))
    for layer in network.layers:
        layer.neuron = node()
    return network


@pytest.fixture(params=NODES.values(), ids=NODES)
def network(request):
    return network_of(request.param)


def test_what_is_recorded_is_what_is_decided(network):
    features = th.randn(7, 3)
    with th.no_grad():
        spikes = network.encoder(features)
        decided = network(features)
        recording = network.record(features)
        for layer, record in zip(network.layers, recording.populations[1:], strict=True):
            spikes = layer(spikes)
            assert th.equal(record.spikes, spikes)
            assert th.equal(record.margin >= 0, spikes > 0)
        th.testing.assert_close(network.output(network.decoder(spikes)), decided)


def test_monitors_costs_and_pictures_need_no_kernel(network):
    recording = network.record(th.randn(7, 3))
    health = [layer_health(record) for record in recording.populations]
    assert all(0.0 <= each.rate <= 1.0 for each in health)
    assert cost_of(recording).synops > 0
    for plot in (plot_spike_raster, plot_firing_rates, plot_membranes):
        plot(recording, ax=Figure().add_subplot())


def test_an_unknown_surrogate_reaches_everywhere():
    assert window(OwnSurrogate()) == pytest.approx(2.0 * math.log(1.0 + math.sqrt(2.0)) / 3.0, abs=1e-3)
    assert window(None) == math.inf
    assert window(Rect(0.25).build()) == 0.25


def test_neurons_without_a_surrogate_are_recorded_without_margins():
    recording = network_of(Silent).record(th.randn(7, 3))
    assert [record.margin for record in recording.populations] == [None] * 4
    assert layer_health(recording.populations[1]).window is None
    with pytest.raises(ValueError, match="population='hidden0' has no membranes"):
        plot_membranes(recording, "hidden0")


@pytest.mark.parametrize("neuron", sorted(NEURONS))
@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("training", [False, True])
def test_recording_witnesses_the_kernels(neuron, surrogate, training):
    # The nodes run themselves when they are recorded, and their surrogates tell the margins.
    node = NEURONS[neuron]().build(SURROGATES[surrogate]()).train(training)
    current = th.randn(5, 3, 20)
    spikes, margin = record_neurons(node, current)
    assert th.equal(spikes, run_neurons(node, current))
    assert th.equal(spikes, (margin >= 0).float())


def test_half_precision_is_recorded_as_it_runs_and_can_be_drawn():
    node = NEURONS["cuba_lif"]().build(Rect())
    current = th.randn(5, 3, 20).bfloat16()
    spikes, margin = record_neurons(node, current)
    assert spikes.dtype == margin.dtype == th.float32
    assert th.equal(spikes, run_neurons(node, current).float())
