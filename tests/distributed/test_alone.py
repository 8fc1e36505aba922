"""What one process can tell of several."""

import socket

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ProgressBarCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_spiking.distributed import DataParallelCallback, drift, group, norm_statistics
from sb3_spiking.distributed.callback import _silence
from sb3_spiking.distributed.gradient_average import GradientAverage
from sb3_spiking.distributed.settings import check_equal
from tests.distributed.batches import make


@pytest.fixture
def one_rank(monkeypatch):
    """Be the only rank there is."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    for name, value in zip(group.RENDEZVOUS, ("0", "1", "0", "127.0.0.1", str(port)), strict=True):
        monkeypatch.setenv(name, value)
    yield
    group._leave()


def test_a_script_that_was_not_started_by_torchrun_is_told_how(monkeypatch):
    for name in group.RENDEZVOUS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"RANK, .* not set\): start the script with torchrun"):
        DataParallelCallback()


@pytest.mark.parametrize("arguments", [{"timeout": 0.0}, {"timeout": float("nan")}, {"checkpoint_every": 0}])
def test_bad_arguments_are_named(arguments, one_rank):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        DataParallelCallback(**arguments)


def vec_normalize():
    return PPO("MlpPolicy", VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")])), n_steps=16, batch_size=16)


def target_kl():
    return PPO("PopSANPolicy", "CartPole-v1", n_steps=16, batch_size=16, target_kl=0.01)


def whole_episodes():
    return TD3("MlpPolicy", "Pendulum-v1", train_freq=(1, "episode"), gradient_steps=-1)


def trpo():
    return pytest.importorskip("sb3_contrib").TRPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16)


def ars():
    return pytest.importorskip("sb3_contrib").ARS("LinearPolicy", "CartPole-v1")


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (vec_normalize, "VecNormalize .* use a policy that normalises"),
        (target_kl, "target_kl=0.01: .*use target_kl=None"),
        (whole_episodes, r"train_freq=\(1, 'episode'\): .*use steps"),
        (trpo, "TRPO cannot be trained on several ranks: it does not learn by an optimiser's steps"),
        (ars, "ARS cannot be trained on several ranks"),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_first_step(make_model, message, one_rank):
    model = make_model()
    with pytest.raises(ValueError, match=message):
        model.learn(100, DataParallelCallback())
    assert model.num_timesteps == 0


def test_what_may_differ_is_a_group_or_an_attribute():
    first, second = {"log_dir": "a", "batch_size": 1}, {"log_dir": "b", "batch_size": 1}
    check_equal([first, second], may_differ=["log_dir"])
    with pytest.raises(ValueError, match="rank 1 differs from rank 0: log_dir is b and not a"):
        check_equal([first, second], may_differ=["environment"])
    with pytest.raises(ValueError, match=r"may_differ=\['nonsense'\]: choose environment, exploration, or attributes"):
        check_equal([first, second], may_differ=["nonsense"])


def test_a_nan_is_farther_than_any_number(monkeypatch):
    monkeypatch.setattr(group, "broadcast", lambda tensors: None)
    network = th.nn.Sequential(th.nn.Linear(2, 2), th.nn.Linear(2, 2))
    assert drift.measure(network).size == 0.0
    network[1].weight.data[0, 0] = float("nan")
    measured = drift.measure(network)
    assert measured.parameter == "1.weight"
    with pytest.raises(RuntimeError, match=r"1\.weight of rank 0"):
        drift.check([measured], 1000)


def test_networks_that_drift_apart_are_named():
    drift.check([drift.Drift("actor.mu", 0.0), drift.Drift("actor.mu", 1e-4)], 1000)
    for size in (0.1, float("nan")):
        with pytest.raises(RuntimeError, match=r"after 1000 steps actor\.mu of rank 1 differs from rank 0's"):
            drift.check([drift.Drift("actor.mu", 0.0), drift.Drift("actor.mu", size)], 1000)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RANK", "one"),
        ("WORLD_SIZE", "2.0"),
        ("MASTER_PORT", ""),
        ("MASTER_PORT", "65536"),
        ("LOCAL_RANK", "-1"),
        ("RANK", "1"),
    ],
)
def test_a_place_among_the_ranks_that_cannot_be_is_refused(variable, value, one_rank, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=rf"{variable}='?{value}'? must be"):
        DataParallelCallback()


def test_more_ranks_than_gpus_are_told_how_many_there_are(one_rank, monkeypatch):
    monkeypatch.setattr(th.cuda, "is_available", lambda: True)
    monkeypatch.setattr(th.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match=r"LOCAL_RANK=1: this machine has 1 GPU, .*--nproc-per-node 1"):
        DataParallelCallback()


def test_gradients_that_are_not_finite_are_named(one_rank):
    group.join(10.0)
    weight, bias = th.zeros(2, requires_grad=True), th.zeros(2, requires_grad=True)
    weight.grad, bias.grad = th.ones(2), th.tensor([1.0, th.nan])
    with pytest.raises(FloatingPointError, match=r"^the gradient of policy\.bias is NaN or infinite"):
        GradientAverage({"policy.weight": weight, "policy.bias": bias})()


def test_a_sum_of_gradients_that_overflows_is_no_error(one_rank):
    group.join(10.0)
    weight = th.zeros(2, requires_grad=True)
    weight.grad = th.full((2,), 3e38)
    GradientAverage({"weight": weight})()
    assert weight.grad.tolist() == pytest.approx([3e38, 3e38])


def test_a_parameter_without_a_gradient_keeps_none(one_rank):
    group.join(10.0)
    used, unused = th.zeros(2, requires_grad=True), th.zeros(2, requires_grad=True)
    used.grad = th.ones(2)
    GradientAverage({"used": used, "unused": unused})()
    assert used.grad.tolist() == [1.0, 1.0]
    assert unused.grad is None


def test_training_on_one_rank_is_training(one_rank, tmp_path):
    # The same random numbers, the same gradients, the same steps.
    alone, parallel = make("TD3", 5), make("TD3", 5)
    alone.learn(200)
    parallel.learn(200, DataParallelCallback(checkpoint=tmp_path / "model"))
    for first, second in zip(alone.policy.parameters(), parallel.policy.parameters(), strict=True):
        th.testing.assert_close(first, second)
    assert TD3.load(tmp_path / "model").num_timesteps == 200
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_a_checkpoint_that_cannot_be_saved_leaves_the_old_one_alone(one_rank, tmp_path):
    callback = DataParallelCallback(checkpoint=tmp_path / "model")
    (tmp_path / "model.zip").write_text("old")
    callback.model = make("TD3", 5)

    def save(path):
        path.write_text("half")
        raise RuntimeError("killed")

    callback.model.save = save
    with pytest.raises(RuntimeError, match="killed"):
        callback._save(callback.checkpoint)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"model.zip": "old"}


def test_a_dot_in_the_checkpoints_name_is_no_suffix(one_rank):
    names = {given: DataParallelCallback(checkpoint=given).checkpoint.name for given in ("lr-0.5", "a.zip", "b")}
    assert names == {"lr-0.5": "lr-0.5.zip", "a.zip": "a.zip", "b": "b.zip"}


def test_the_other_ranks_neither_log_nor_show_progress():
    model, kept = make("DQN", 0, verbose=1), Steps()
    listed = CallbackList([kept, ProgressBarCallback()])
    _silence(model, listed)
    assert listed.callbacks == [kept]
    assert model.logger.output_formats == []


def test_nothing_is_left_behind(one_rank):
    model = make("DQN", 0)
    model.learn(200, DataParallelCallback())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.policy.parameters())
    model = make("TD3", 0)
    model.learn(200, DataParallelCallback())
    # The policy's own hook scales the actor's learning rate.
    assert len(model.actor.optimizer._optimizer_step_pre_hooks) == len(
        make("TD3", 0).actor.optimizer._optimizer_step_pre_hooks
    )
    assert not model.critic.optimizer._optimizer_step_pre_hooks
    group._leave()
    model.learn(20, reset_num_timesteps=False)


class Steps(BaseCallback):
    def _on_step(self):
        return self.n_calls < 30


def test_the_first_ranks_callbacks_run_there_and_may_end_the_training(one_rank):
    model, counter = make("TD3", 0), Steps()
    model.learn(200, DataParallelCallback([counter]))
    assert counter.n_calls == model.num_timesteps == 30


def test_moments_of_batch_normalisation_are_combined_and_not_averaged(monkeypatch):
    rng = np.random.default_rng(0)
    ranks = [rng.normal(shift, scale, (500, 3)) for shift, scale in ((0.0, 1.0), (4.0, 2.0))]
    norms = []
    for values in ranks:
        norm = th.nn.BatchNorm1d(3).double()
        norm.running_mean.copy_(th.tensor(values.mean(0)))
        norm.running_var.copy_(th.tensor(values.var(0)))
        norms.append(norm)
    moments = [th.stack([norm.running_mean, norm.running_var + norm.running_mean.square()]) for norm in norms]
    monkeypatch.setattr(group, "all_reduce", lambda tensor: sum(moments))
    monkeypatch.setattr(group, "size", lambda: 2)
    norm_statistics.synchronize(norm_statistics.batch_norms(norms[0]))
    together = np.concatenate(ranks)
    np.testing.assert_allclose(norms[0].running_mean, together.mean(0))
    np.testing.assert_allclose(norms[0].running_var, together.var(0))
