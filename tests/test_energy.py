import pytest
import torch as th

from sb3_spiking.energy import cost_of, decision_cost
from sb3_spiking.snn import Recording, SpikingOptions
from sb3_spiking.snn.recording import synapses_of
from tests.conftest import popsan


def test_counts_by_hand():
    # Two decisions of two steps; three spikes meet 4 synapses each, then a current of two values meets 5 each.
    spikes = th.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    fired = th.zeros(2, 2, 4)
    fired[1, 1, 2] = 1.0
    recording = Recording()
    recording.add_population("encoder", spikes)
    recording.add_population("hidden0", fired, margin=fired - 1)
    recording.add_synapses("hidden0", synapses_of(th.nn.Linear(2, 4)), spikes)
    current = th.tensor([[0.5, 0.0, -2.0], [0.0, 0.0, 0.1]]).expand(2, 2, 3)
    recording.add_synapses("decoder", synapses_of(th.nn.Linear(3, 5)), current)
    cost = cost_of(recording)
    assert cost.synops == 3 * 4 / 2
    assert cost.macs == 3 * 5 / 2
    assert cost.dense_macs == 2 * 4 + 3 * 5
    assert cost.firing_rates == {"encoder": 3 / 8, "hidden0": 1 / 16}
    assert cost.mean_firing_rate == 1 / 16


def test_a_spike_at_the_border_of_an_image_meets_fewer_synapses():
    convolution = th.nn.Conv2d(1, 3, kernel_size=2)
    corner, centre = th.zeros(2, 1, 1, 1, 3, 3)
    corner[..., 0, 0] = 1.0
    centre[..., 1, 1] = 1.0
    recording = Recording()
    for spikes in (corner, centre):
        recording.add_synapses("conv0", synapses_of(convolution), spikes)
    assert [record.synops for record in recording.synapses] == [3, 4 * 3]
    assert recording.synapses[0].dense_macs == 2 * 2 * 3 * 4


def test_counts_equal_spikingjellys_operation_counter():
    from spikingjelly.activation_based import op_counter

    network = popsan(4, 2, (16, 8))
    observations = th.randn(5, 4)
    counter = op_counter.SynOpCounter()
    with op_counter.DispatchCounterMode([counter]), th.no_grad():
        network(observations)
    decoded = network.record(observations).populations[-1].spikes.sum().item()
    cost = decision_cost(network, observations)
    # The decoder is an elementwise product for torch, one synapse per output neuron for us.
    assert cost.synops * 5 - decoded == pytest.approx(counter.get_total())


def test_an_analog_encoder_multiplies_once():
    network = popsan(4, 2, (16,), SpikingOptions(encoder="analog"))
    assert decision_cost(network, th.randn(5, 4)).macs == 40 * 16


def test_a_silent_network_costs_what_its_encoder_sends():
    network = popsan(4, 2, (16,))
    with th.no_grad():
        for layer in network.layers:
            layer.synapses.weight.zero_()
            layer.synapses.bias.zero_()
    recording = network.record(th.zeros(1, 4))
    cost = cost_of(recording)
    assert cost.mean_firing_rate == 0
    assert cost.synops == recording.populations[0].spikes.sum() * 16
