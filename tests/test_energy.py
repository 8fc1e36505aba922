import pytest
import torch as th

from sb3_spiking.energy import cost_of, decision_cost
from sb3_spiking.snn import LayerRecord, PopSAN, PopSANOptions


def test_counts_by_hand():
    # Two decisions of two steps; 3 encoder spikes with 4 synapses each, 1 output spike with 1.
    encoder = th.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    output = th.zeros(2, 2, 4)
    output[1, 1, 2] = 1.0
    cost = cost_of([LayerRecord("encoder", encoder, 4), LayerRecord("output", output, 1)])
    assert cost.synops == (3 * 4 + 1 * 1) / 2
    assert cost.macs == 0
    assert cost.dense_macs == 2 * 4 + 4
    assert cost.firing_rates == {"encoder": 3 / 8, "output": 1 / 16}
    assert cost.mean_firing_rate == 1 / 16


def test_counts_equal_spikingjellys_operation_counter():
    from spikingjelly.activation_based import op_counter

    network = PopSAN(4, 2, (16, 8))
    observations = th.randn(5, 4)
    counter = op_counter.SynOpCounter()
    with op_counter.DispatchCounterMode([counter]), th.no_grad():
        network(observations)
    decoded = sum(record.spikes.sum().item() for record in network.record(observations)[-1:])
    cost = decision_cost(network, observations)
    # The decoder is an elementwise product for torch, one synapse per output neuron for us.
    assert cost.synops * 5 - decoded == pytest.approx(counter.get_total())


def test_an_analog_encoder_multiplies_once():
    network = PopSAN(4, 2, (16,), PopSANOptions(encoder="analog"))
    assert decision_cost(network, th.randn(5, 4)).macs == 40 * 16


def test_a_silent_network_costs_what_its_encoder_sends():
    network = PopSAN(4, 2, (16,))
    with th.no_grad():
        for layer in network.layers:
            layer.linear.weight.zero_()
            layer.linear.bias.zero_()
    records = network.record(th.zeros(1, 4))
    cost = cost_of(records)
    assert cost.mean_firing_rate == 0
    assert cost.synops == records[0].spikes.sum() * 16
