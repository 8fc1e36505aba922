"""Whatever decides how a rank learns is compared before the first step, and named where it differs."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_spiking.distributed.descriptions import describe
from sb3_spiking.distributed.settings import check_equal, settings
from tests.distributed.batches import make


def test_differences_are_named_with_their_rank():
    alike = {"gamma": 0.99, "n_envs": 1}
    check_equal([alike, dict(alike)])
    with pytest.raises(ValueError, match=r"rank 2 differs from rank 0: gamma is 0.9 and not 0.99"):
        check_equal([alike, alike, {**alike, "gamma": 0.9}])
    with pytest.raises(ValueError, match="rank 1 differs from rank 0: n_envs is None and not 1"):
        check_equal([alike, {"gamma": 0.99}])


def test_the_seed_and_the_output_may_differ():
    first, second = make("TD3", 0), make("TD3", 1, verbose=1, tensorboard_log="runs")
    check_equal([settings(model, 10) for model in (first, second)])


def test_a_default_that_is_written_out_is_no_difference():
    written = make("PPO", 0, policy_kwargs={"time_steps": 5, "neuron": "cuba_lif"}, clip_range=lambda _: 0.2)
    check_equal([settings(model, 10) for model in (make("PPO", 0), written)])


def tasks():
    """Return what is not written in a function's own code: its defaults and what it closes over."""

    def closing_over(factor):
        return lambda noise: factor * noise

    return closing_over(1.0), closing_over(2.0), lambda noise, factor=3.0: factor * noise


def test_functions_of_the_same_name_are_told_apart_by_what_they_do():
    first, second, third = (describe({"selection": function})["selection"] for function in tasks())
    assert len({first, second, third}) == 3
    assert describe(tasks()[0]) == first


def test_a_function_that_knows_itself_can_be_described():
    def again(n):
        return again(n - 1) if n else 0

    assert describe(again) == describe(again)


def test_no_description_holds_a_place_in_memory():
    class Odd:
        pass

    described = [str(describe({"objects": [Odd(), Odd, len, Odd().__init__, {1, 2}]})) for _ in range(2)]
    assert described[0] == described[1]
    assert "0x" not in described[0]


def half_as_fast(progress):
    return 1e-3 if progress > 0.3335 else 5e-4


TD3_DIFFERENCES = {
    "time_steps": ({"policy_kwargs": {"time_steps": 8}}, r"policy_kwargs\.time_steps is 8 and not 5"),
    "threshold": ({"policy_kwargs": {"neuron_kwargs": {"threshold": 0.4}}}, "policy_kwargs.neuron_kwargs"),
    "surrogate": ({"policy_kwargs": {"surrogate_kwargs": {"width": 2.0}}}, "policy_kwargs.surrogate_kwargs"),
    "precision": ({"policy_kwargs": {"precision": "bfloat16"}}, "precision is bfloat16 and not float32"),
    "critic": (
        {"policy_kwargs": {"activation_fn": th.nn.Tanh}},
        r"activation_fn is \S+Tanh and not \S+ReLU",
    ),
    "optimizer": ({"policy_kwargs": {"optimizer_class": th.optim.SGD}}, "policy_kwargs.optimizer_class"),
    "weight_decay": ({"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.1}}}, "optimizer_kwargs.weight_decay"),
    "learning_rate": ({"learning_rate": half_as_fast}, r"learning_rate\(0\.333\) is 0\.0005 and not 0\.001"),
    "noise": (
        {"action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.1))},
        r"may_differ=\['exploration'\]",
    ),
    "buffer": ({"replay_buffer_kwargs": {"handle_timeout_termination": False}}, "replay_buffer_kwargs"),
    "numpy": ({"gamma": np.float32(0.5)}, "gamma is 0.5 and not 0.99"),
}


@pytest.mark.parametrize("name", TD3_DIFFERENCES)
def test_what_no_shape_shows_is_a_difference(name):
    kwargs, message = TD3_DIFFERENCES[name]
    with pytest.raises(ValueError, match=message):
        check_equal([settings(make("TD3", 0), 10), settings(make("TD3", 0, **kwargs), 10)])


@pytest.mark.parametrize(
    ("name", "attribute"), [("PPO", "clip_range"), ("PPO", "clip_range_vf"), ("DQN", "exploration_schedule")]
)
def test_schedules_are_compared_by_their_values(name, attribute):
    first, second = make(name, 0), make(name, 0)
    setattr(first, attribute, lambda progress: 0.1 * progress)
    setattr(second, attribute, lambda progress: 0.1 * min(progress, 0.5))
    with pytest.raises(ValueError, match=rf"{attribute}\(1\) is 0\.05 and not 0\.1"):
        check_equal([settings(first, 10), settings(second, 10)])


def test_a_schedule_that_has_no_end_is_compared_up_to_there():
    models = [make("PPO", 0, learning_rate=lambda progress: 1e-4 / progress) for _ in range(2)]
    check_equal([settings(model, 10) for model in models])


def test_a_threshold_that_was_changed_afterwards_is_a_difference():
    first, second = make("TD3", 0), make("TD3", 0)
    second.policy.spiking_network.layers[0].neuron.v_threshold = 0.3
    with pytest.raises(ValueError, match=r"modules.*v_threshold=0\.3"):
        check_equal([settings(first, 10), settings(second, 10)])


def test_a_frozen_layer_is_a_difference():
    first, second = make("TD3", 0), make("TD3", 0)
    next(second.policy.parameters()).requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        check_equal([settings(first, 10), settings(second, 10)])


def test_counters_that_decide_what_is_updated_next_are_compared():
    first, second = make("TD3", 0), make("TD3", 0)
    second._n_updates = 1
    with pytest.raises(ValueError, match="_n_updates is 1 and not 0"):
        check_equal([settings(first, 10), settings(second, 10)])


def pendulum(env):
    return settings(TD3("MlpPolicy", env, buffer_size=100), 10)


def test_environments_are_compared_by_name_wrappers_arguments_and_spaces():
    usual = pendulum(gym.make("Pendulum-v1"))
    check_equal([usual, pendulum(gym.make("Pendulum-v1", render_mode="rgb_array"))])
    with pytest.raises(ValueError, match=r"environment\.kwargs.*'g': 3\.0.*may_differ=\['environment'\]"):
        check_equal([usual, pendulum(gym.make("Pendulum-v1", g=3.0))])
    check_equal([usual, pendulum(gym.make("Pendulum-v1", g=3.0))], may_differ=["environment"])
    with pytest.raises(ValueError, match=r"environment\.names"):
        check_equal([usual, pendulum(gym.make("Pendulum-v1", max_episode_steps=7).env)])
    scaled = gym.wrappers.RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1))
    with pytest.raises(ValueError, match="action_space is Box"):
        check_equal([usual, pendulum(scaled)], may_differ=["environment"])


def test_environments_in_processes_of_their_own_are_asked_for_their_names():
    env = SubprocVecEnv([lambda: gym.make("CartPole-v1")] * 2)
    try:
        names = settings(PPO("MlpPolicy", env, n_steps=16, batch_size=16), 10)["environment"]["names"]
    finally:
        env.close()
    assert len(names) == 2
    assert "CartPole-v1" in names[0]


def test_versions_are_compared(monkeypatch):
    first = settings(make("DQN", 0), 10)
    monkeypatch.setattr("sb3_spiking.versions.version", lambda package: "1.0")
    with pytest.raises(ValueError, match=r"versions\.\S+ is 1\.0 and not"):
        check_equal([first, settings(make("DQN", 0), 10)])
