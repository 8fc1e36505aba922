"""DQN and QRDQN: spiking action values."""

import pytest
import torch as th
from stable_baselines3 import DQN

from sb3_spiking.policies.value import CommonModeCorrection
from tests.policies.cells import CONTRIB, Cell

CELLS = [Cell(algorithm, policy) for algorithm in (DQN, *CONTRIB) for policy in ("PopSANPolicy", "SpikingCnnPolicy")]
CELLS = [cell for cell in CELLS if cell.name in ("DQN", "QRDQN")]
every_cell = pytest.mark.parametrize("cell", CELLS, ids=str)


def network(model):
    return model.q_net if hasattr(model, "q_net") else model.quantile_net


@every_cell
def test_common_mode_comes_from_the_ann_and_changes_no_greedy_action(cell):
    model = cell.model(policy_kwargs={"common_mode_correction": True}).learn(48)
    observations, _ = model.policy.obs_to_tensor(cell.observations(64))
    q = network(model)
    q.set_training_mode(False)
    head = getattr(q, q.head)
    assert isinstance(head, CommonModeCorrection)
    with th.no_grad():
        features = q.extract_features(observations, q.features_extractor)
        values = q(observations).reshape(64, -1, 3)
        common = head.ann(features)
        spiking = q.spiking_network(features).reshape(64, -1, 3)
    th.testing.assert_close(values.mean(dim=2), common, rtol=1e-4, atol=1e-5)
    differences = spiking - spiking.mean(dim=2, keepdim=True)
    th.testing.assert_close(values - common[..., None], differences, rtol=1e-4, atol=1e-5)
    assert th.equal(q._predict(observations), spiking.mean(dim=1).argmax(dim=1))
    assert th.equal(q._predict(observations), values.mean(dim=1).argmax(dim=1))


@every_cell
def test_acting_does_not_run_the_ann(cell):
    model = cell.model(policy_kwargs={"common_mode_correction": True})
    head = getattr(network(model), network(model).head)
    calls = []
    head.ann.register_forward_hook(lambda *_: calls.append(1))
    model.predict(cell.observations(), deterministic=True)
    assert not calls


@every_cell
def test_the_correction_is_saved(cell, tmp_path):
    model = cell.model(policy_kwargs={"common_mode_correction": True})
    model.save(tmp_path / "model")
    loaded = cell.algorithm.load(tmp_path / "model", device="cpu")
    observations, _ = model.policy.obs_to_tensor(cell.observations())
    with th.no_grad():
        assert th.equal(network(loaded)(observations), network(model)(observations))


@every_cell
def test_target_is_a_copy_that_learns_nothing(cell):
    model = cell.model(target_update_interval=16)
    online, target = network(model), getattr(model, f"{network(model).head}_target")
    assert [name for name, _ in online.named_parameters()] == [name for name, _ in target.named_parameters()]
    model.learn(32)
    optimised = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in online.parameters()}


@pytest.mark.parametrize("decoder", ["rate", "accumulated", "last", "mean", "max"])
@pytest.mark.parametrize("population", [None, 4])
def test_every_decoder_learns_values(decoder, population):
    cell = Cell(DQN, "PopSANPolicy")
    model = cell.model(policy_kwargs={"decoder": decoder, "decoder_population": population}).learn(64)
    values = network(model)(model.policy.obs_to_tensor(cell.observations())[0])
    assert values.shape == (16, 3)
    assert th.isfinite(values).all()


def test_a_dict_of_architectures_is_refused():
    with pytest.raises(ValueError, match="must be a list"):
        Cell(DQN, "PopSANPolicy").model(policy_kwargs={"net_arch": {"pi": [8], "qf": [8]}})
