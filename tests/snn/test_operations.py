import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from torch.nn.utils import prune

from sb3_spiking.snn import Part, PopulationRecord, Recording, SpikingNetwork, SpikingOptions
from sb3_spiking.snn.operations import HOROWITZ_45NM, cost_of, decision_cost
from sb3_spiking.snn.recording import synapses_of
from tests.conftest import popsan
from tests.envs import AnyEnv


def test_counts_by_hand():
    # Two decisions of two steps; three spikes meet 4 synapses each, then a current of two values meets 5 each.
    spikes = th.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    fired = th.zeros(2, 2, 4)
    fired[1, 1, 2] = 1.0
    recording = Recording()
    recording.populations.append(PopulationRecord("encoder", spikes, exponentials=2))
    recording.populations.append(PopulationRecord("hidden0", fired, margin=fired - 1))
    recording.add_synapses("hidden0", synapses_of(th.nn.Linear(2, 4)), spikes)
    current = th.tensor([[0.5, 0.0, -2.0], [0.0, 0.0, 0.1]])[None]
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
            layer.synapses.weight.fill_(1e-9)
            layer.synapses.bias.zero_()
    recording = network.record(th.zeros(1, 4))
    cost = cost_of(recording)
    assert cost.mean_firing_rate == 0
    assert cost.synops == recording.populations[0].spikes.sum() * 16


def acting_macs(policy, observation):
    """Count the products of SB3's own layers while a policy acts, by what passes through them."""
    counts = []
    for name, module in policy.named_modules():
        if isinstance(module, th.nn.Linear | th.nn.Conv2d) and "log_std" not in name:
            module.register_forward_hook(lambda m, _, output: counts.append(m.weight[0].numel() * output.numel()))
    policy.predict(observation, deterministic=True)
    return sum(counts)


CHEETAH = (spaces.Box(-1.0, 1.0, (17,)), spaces.Box(-1.0, 1.0, (6,)))


def test_the_ordinary_ann_has_no_populations():
    cost = decision_cost(popsan(17, 6), th.zeros(1, 17))
    assert cost.ann_macs == 17 * 256 + 256 * 256 + 256 * 6 == 71_424
    assert cost.dense_macs == 170 * 256 + 256 * 256 + 256 * 60 + 60 == 124_476


@pytest.mark.parametrize(
    ("algorithm", "spiking", "ordinary", "observed", "actions", "policy_kwargs"),
    [
        (TD3, "PopSANPolicy", "MlpPolicy", *CHEETAH, {"net_arch": [256, 256]}),
        (SAC, "PopSANPolicy", "MlpPolicy", *CHEETAH, {"net_arch": {"pi": [32, 16], "qf": [8]}}),
        (PPO, "SpikingMlpPolicy", "MlpPolicy", *CHEETAH, {}),
        (PPO, "PopSANPolicy", "MlpPolicy", CHEETAH[0], spaces.MultiDiscrete([3, 4]), {"net_arch": [24]}),
        (PPO, "SpikingMlpPolicy", "MlpPolicy", spaces.Discrete(5), spaces.Discrete(2), {"net_arch": [24]}),
        (DQN, "PopSANPolicy", "MlpPolicy", CHEETAH[0], spaces.Discrete(4), {"net_arch": [24, 12]}),
        (DQN, "SpikingCnnPolicy", "CnnPolicy", spaces.Box(0, 255, (2, 40, 40), np.uint8), spaces.Discrete(4), None),
    ],
    ids=["TD3", "SAC", "PPO", "PPO-MultiDiscrete", "PPO-Discrete", "DQN", "DQN-images"],
)
def test_the_ordinary_ann_is_the_policy_that_sb3_would_deploy(
    algorithm, spiking, ordinary, observed, actions, policy_kwargs
):
    env = AnyEnv(observed, actions)
    buffer = {} if algorithm is PPO else {"buffer_size": 1}
    policy = algorithm(spiking, env, policy_kwargs=policy_kwargs, **buffer).policy
    # Behind NatureCNN, whose last layer has 512 units as ours has, SB3's DQN has one linear layer.
    own_kwargs = {"net_arch": []} if policy_kwargs is None else policy_kwargs
    theirs = algorithm(ordinary, env, policy_kwargs=own_kwargs, **buffer).policy
    observation = observed.sample()
    features = policy.spiking_features(policy.obs_to_tensor(observation)[0])
    assert decision_cost(policy.spiking_network, features).ann_macs == acting_macs(theirs, observation)


def test_the_ordinary_ann_reads_the_entries_of_a_dict_side_by_side():
    parts = [Part("view", (1, 10, 10)), Part("joints", (7,))]
    network = SpikingNetwork(parts, 3, [20], SpikingOptions(decoder_population=4))
    convolved, behind = 16 * 9 * 8 * 8, 16 * 8 * 8 + 7
    assert network.ann_macs == convolved + behind * 20 + 20 * 3
    assert decision_cost(network, th.zeros(1, 107)).ann_macs == network.ann_macs


def test_without_populations_the_ordinary_ann_is_the_dense_network():
    options = SpikingOptions(encoder="direct", decoder_population=None)
    cost = decision_cost(SpikingNetwork([Part("", (1, 10, 10))], 3, [20], options), th.ones(1, 100))
    assert cost.ann_macs == cost.dense_macs


def test_receptive_fields_and_neurons_are_counted_beside_the_synapses():
    cost = decision_cost(popsan(17, 6), th.randn(3, 17))
    assert cost.exponentials == 170
    assert cost.neuron_updates == 5 * (170 + 256 + 256 + 60)
    analog = decision_cost(popsan(4, 2, (16,), SpikingOptions(encoder="analog")), th.randn(3, 4))
    assert (analog.exponentials, analog.neuron_updates) == (40, 5 * (16 + 20))


def test_a_cost_printed_shows_both_baselines_in_columns():
    cost = decision_cost(popsan(17, 6), th.randn(8, 17))
    head, *rows, note = str(cost).splitlines()
    assert head.split("  ")[-2:] == ["ordinary ANN", "dense, same layers"]
    table = {row[:30].strip(): row[30:].split() for row in rows}
    assert table["multiply-accumulates"] == ["0", "71,424", "124,476"]
    own, ann, dense = (HOROWITZ_45NM.joules(*counts) for counts in ((0, cost.synops), (71_424,), (124_476,)))
    assert [float(cell) for cell in table["energy of the arithmetic [nJ]"]] == pytest.approx(
        [1e9 * own, 1e9 * ann, 1e9 * dense], rel=5e-3
    )
    assert [float(cell) for cell in table["relative to spiking"]] == pytest.approx(
        [1, ann / own, dense / own], abs=5e-3
    )
    assert float(table["hidden1"][0]) == pytest.approx(cost.firing_rates["hidden1"], abs=5e-4)
    assert HOROWITZ_45NM.name in note
    assert max(map(len, str(cost).splitlines())) <= 80


def test_a_cost_of_nothing_can_be_printed():
    options = SpikingOptions(encoder="direct", decoder_population=None, neuron_kwargs={"threshold": 100.0})
    assert "relative" not in str(decision_cost(SpikingNetwork(2, 1, [4], options), th.zeros(1, 2)))


def test_a_cost_is_plain_numbers():
    cost = decision_cost(popsan(4, 2, (16,)), th.randn(2, 4))
    assert json.loads(json.dumps(dataclasses.asdict(cost)))["ann_macs"] == 4 * 16 + 16 * 2


PRUNED = {"layers.1.synapses": "hidden1", "layers.2.synapses": "output", "decoder": "decoder"}


@pytest.mark.parametrize("part", PRUNED)
@pytest.mark.parametrize("permanent", [False, True])
def test_pruned_synapses_cost_nothing(part, permanent):
    network = SpikingNetwork(3, 2, (16, 16), SpikingOptions(decoder_population=4))
    features = th.randn(20, 3)
    prune.random_unstructured(network.get_submodule(part), "weight", 0.75)
    if permanent:
        prune.remove(network.get_submodule(part), "weight")
    (record,) = [synapses for synapses in network.record(features).synapses if synapses.name == PRUNED[part]]
    module = network.get_submodule(part)
    *_, inputs = [spikes for name, spikes in inputs_of(network, features) if name == PRUNED[part]]
    grouped = inputs.unflatten(-1, module.weight.shape) if part == "decoder" else inputs[..., None, :]
    assert record.synops == pytest.approx(((grouped * (module.weight != 0)).sum() / len(features)).item())
    assert 0.0 < record.synops < inputs.sum().item()
    assert record.dense_macs == module.weight.numel()


def inputs_of(network, features):
    """Return what each linear map gets."""
    with th.no_grad():
        spikes = network.encoder(features).tensor()
        for layer in network.layers:
            yield layer.name, spikes
            spikes = layer(spikes)
        yield "decoder", spikes


def test_the_synapses_of_quantised_layers_are_counted():
    network = SpikingNetwork(3, 2, (16, 16))
    features = th.randn(20, 3)
    whole = network.record(features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        quantised = th.ao.quantization.quantize_dynamic(network, {th.nn.Linear})
    counted = quantised.record(features)
    assert [each.dense_macs for each in counted.synapses] == [each.dense_macs for each in whole.synapses]
    assert counted.synapses[0].synops == pytest.approx(whole.synapses[0].synops, rel=0.02)
