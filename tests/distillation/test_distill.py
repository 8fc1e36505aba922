"""Distillation: students of every kind of action learn what their teachers do, and nothing else changes."""

import copy
import json

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_spiking import distill
from sb3_spiking.distillation.dataset import LabelledStates

BRIEF = {"steps": 640, "rounds": 4, "gradient_steps": 80, "batch_size": 64, "episodes": 2, "max_steps": 30}


def new(algorithm, policy, env, **settings):
    """Return a small untrained model."""
    if algorithm is not PPO:
        settings = {"buffer_size": 10, **settings}
    return algorithm(policy, env, policy_kwargs={"net_arch": [32, 32]}, device="cpu", seed=0, **settings)


class Walk(gym.Env):
    """A point that is moved, with an observation far from 0; episodes of 20 steps."""

    def __init__(self, action_space=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = action_space or spaces.Box(-2.0, 2.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = 0
        self._place = self.np_random.normal(5.0, 2.0, 3).astype(np.float32)
        return self._place, {}

    def step(self, action):
        self._steps += 1
        moved = float(np.sum(action)) if isinstance(self.action_space, spaces.Box) else 0.1
        self._place = (self._place + 0.1 * moved + self.np_random.normal(0.0, 0.3, 3)).astype(np.float32)
        return self._place, moved, False, self._steps == 20, {}


class Teacher(BasePolicy):
    """A teacher whose actions are a known function of the observation."""

    def __init__(self, env, function):
        super().__init__(env.observation_space, env.action_space)
        self.function = function

    def _predict(self, observation, deterministic=False):
        return th.as_tensor(np.asarray(self.function(observation.numpy())))


def swing(observations):
    return np.clip(0.4 * (observations[:, :2] - 5.0), -2.0, 2.0).astype(np.float32)


def side(observations):
    return (observations[:, 0] > 5.0).astype(np.int64)


@pytest.mark.parametrize("algorithm", [TD3, SAC, PPO])
def test_continuous_students_come_near(algorithm):
    env = Walk()
    student = new(algorithm, "PopSANPolicy", env)
    report = distill(Teacher(env, swing), student, env, **{**BRIEF, "steps": 1500, "gradient_steps": 1000})
    assert report.error < 0.12  # half of the range; the teacher's actions spread over 0.39
    assert report.agreement is None
    assert report.losses[-1] < 0.5 * report.losses[0]


@pytest.mark.parametrize("algorithm", [DQN, PPO])
def test_discrete_students_choose_alike(algorithm):
    env = Walk(spaces.Discrete(2))
    student = new(algorithm, "SpikingMlpPolicy", env)
    report = distill(Teacher(env, side), student, env, **{**BRIEF, "steps": 1500, "gradient_steps": 800})
    assert report.agreement > 0.9
    assert report.error is None


@pytest.mark.parametrize(
    ("space", "function"),
    [
        (spaces.MultiDiscrete([2, 3]), lambda o: np.stack([side(o), 2 * side(o)], axis=1)),
        (spaces.MultiBinary(2), lambda o: np.stack([side(o), 1 - side(o)], axis=1).astype(np.int8)),
    ],
    ids=["MultiDiscrete", "MultiBinary"],
)
def test_several_discrete_actions_are_learnt_together(space, function):
    env = Walk(space)
    report = distill(
        Teacher(env, function),
        new(PPO, "SpikingMlpPolicy", env),
        env,
        **{**BRIEF, "steps": 1500, "gradient_steps": 800},
    )
    assert report.agreement > 0.9


def test_the_report_says_it_in_words_and_in_json():
    env = Walk()
    report = distill(Teacher(env, swing), new(TD3, "PopSANPolicy", env), env, **BRIEF)
    assert report.samples == 640
    assert len(report.losses) == 4
    assert len(report.teacher_returns) == len(report.student_returns) == 2
    shown = json.loads(report.to_json())
    assert shown["student_return"] == pytest.approx(np.mean(report.student_returns))
    assert "error of the action" in str(report)
    assert [text.get_text() for text in report.plot().texts][-1] == "student"


def test_the_same_seed_teaches_the_same(tmp_path):
    env = Walk()
    learnt = []
    for _ in range(2):
        student = new(TD3, "PopSANPolicy", env)
        th.manual_seed(len(learnt))  # nothing is drawn from torch's generator
        report = distill(Teacher(env, swing), student, env, **BRIEF)
        learnt.append((report.losses, student.policy.state_dict()))
    assert learnt[0][0] == learnt[1][0]
    assert all(th.equal(value, learnt[1][1][name]) for name, value in learnt[0][1].items())


def test_only_the_network_that_acts_and_the_statistics_change():
    env = Walk()
    teacher = PPO("MlpPolicy", env, device="cpu")
    student = new(TD3, "PopSANPolicy", env)
    before = copy.deepcopy([teacher.policy.state_dict(), student.policy.critic.qf0.state_dict()])
    distill(teacher, student, env, **BRIEF)
    after = [teacher.policy.state_dict(), student.policy.critic.qf0.state_dict()]
    for old, present in zip(before, after, strict=True):
        assert all(th.equal(value, present[name]) for name, value in old.items())
    assert all(map(th.equal, student.policy.actor.parameters(), student.policy.actor_target.parameters()))
    # The observations lie around 5; without statistics they would be clipped at 3.
    extractor = student.policy.actor.features_extractor
    assert extractor.running_mean.tolist() == pytest.approx([5.0] * 3, abs=1.0)


def test_statistics_that_were_gathered_stay():
    env = Walk()
    student = new(TD3, "PopSANPolicy", env)
    student.policy.fit_normalization(np.random.default_rng(0).normal(4.0, 1.0, (100, 3)).astype(np.float32))
    before = student.policy.actor.features_extractor.running_mean.clone()
    distill(Teacher(env, swing), student, env, **BRIEF)
    assert th.equal(student.policy.actor.features_extractor.running_mean, before)


def test_a_student_is_trained_further_and_saved(tmp_path):
    env = Walk()
    student = new(TD3, "PopSANPolicy", env, buffer_size=200, learning_starts=20)
    distill(Teacher(env, swing), student, env, **BRIEF)
    observations = np.full((2, 3), 5.5, np.float32)
    student.save(tmp_path / "student.zip")
    loaded = TD3.load(tmp_path / "student.zip", env=env, device="cpu")
    np.testing.assert_array_equal(loaded.predict(observations)[0], student.predict(observations)[0])
    loaded.learn(60)


def test_the_teacher_acts_first_and_the_student_in_the_end(monkeypatch):
    from sb3_spiking.distillation import dagger

    seen = []
    collect = dagger._Walk.collect
    monkeypatch.setattr(
        dagger._Walk, "collect", lambda walk, states, until, teaching, *rest: seen.append(teaching)
        or collect(walk, states, until, teaching, *rest),
    )  # fmt: skip
    env = Walk()
    student = new(TD3, "PopSANPolicy", env)
    distill(Teacher(env, swing), student, env, **{**BRIEF, "rounds": 8})
    assert seen == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_what_the_student_meets_is_labelled():
    # A teacher that always turns left never sees the right; its student does, at first, and is told what to do there.
    env = Walk()
    labelled = []
    teacher = Teacher(env, lambda observations: labelled.append(observations) or swing(observations))
    distill(teacher, new(TD3, "PopSANPolicy", env), env, **BRIEF)
    assert sum(map(len, labelled)) >= 640


def test_frozen_statistics_of_the_environment_stay_as_they_are():
    env = VecNormalize(make_vec_env(Walk, 2))
    env.obs_rms.mean[:] = 5.0
    env.obs_rms.var[:] = 4.0
    env.obs_rms.count = 1e4
    student = new(TD3, "PopSANPolicy", env)
    before = copy.deepcopy(env.obs_rms)
    distill(Teacher(env, lambda observations: 0.1 * observations[:, :2]), student, env, **BRIEF)
    np.testing.assert_array_equal(env.obs_rms.mean, before.mean)
    assert env.training


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": 0}, "steps=0 must be"),
        ({"rounds": 1000}, "steps=640 must be at least rounds=1000"),
        ({"gradient_steps": 3}, "gradient_steps=3 must be at least rounds=4"),
        ({"exploration": 1.5}, "exploration=1.5 must"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must"),
        ({"batch_size": 0}, "batch_size=0 must"),
        ({"episodes": 0}, "episodes=0 must"),
        ({"env": "CartPole-v1"}, "does not fit the agent"),
        ({"env": "No-v0"}, "No-v0"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(change, problem):
    env = Walk()
    student = new(TD3, "PopSANPolicy", env)
    teacher = Teacher(env, lambda _: pytest.fail("work has begun"))
    with pytest.raises(ValueError, match=problem):
        distill(teacher, student, **{"env": env, **BRIEF, **change})


def test_others_than_models_are_refused():
    env = Walk()
    student = new(TD3, "PopSANPolicy", env)
    with pytest.raises(TypeError, match="student=TD3 with TD3Policy does not spike"):
        distill(student, TD3("MlpPolicy", env, buffer_size=10, device="cpu"), env)
    with pytest.raises(TypeError, match="student=str does not spike"):
        distill(student, "student.zip", env)
    with pytest.raises(TypeError, match="teacher=str must be a model"):
        distill("teacher.zip", student, env)
    with pytest.raises(ValueError, match="does not fit the agent"):
        distill(Teacher(Walk(spaces.Box(-1.0, 1.0, (3,))), swing), student, env)


class Masked(Walk):
    """A walk in which one of three actions is invalid, and whose episodes end at different times."""

    def __init__(self):
        super().__init__(spaces.Discrete(3))
        self.invalid_taken = 0

    def action_masks(self):
        return np.array([True, self._place[0] > 5.0, self._place[0] <= 5.0])

    def step(self, action):
        self.invalid_taken += not self.action_masks()[action]
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, bool(self.np_random.random() < 0.1), truncated, info


def test_masked_agents_take_valid_actions_alone():
    maskable = pytest.importorskip("sb3_contrib").MaskablePPO
    env = make_vec_env(Masked, 4)
    teacher, student = (maskable(name, env, device="cpu") for name in ("MlpPolicy", "PopSANPolicy"))
    report = distill(teacher, student, env, **{**BRIEF, "episodes": 6, "exploration": 0.0})
    assert len(report.student_returns) == 6
    assert sum(env.get_attr("invalid_taken")) == 0
    assert report.agreement is None
    with pytest.raises(ValueError, match=r"exploration=0\.1 must be 0 where the environment masks actions"):
        distill(teacher, student, env, **{**BRIEF, "exploration": 0.1})
    with pytest.raises(ValueError, match="make it with MaskablePPO too"):
        distill(teacher, new(PPO, "PopSANPolicy", env), env, **{**BRIEF, "exploration": 0.0})


def test_recurrent_teachers_label_with_their_memory():
    recurrent = pytest.importorskip("sb3_contrib").RecurrentPPO
    env = Walk()
    teacher = recurrent("MlpLstmPolicy", env, n_steps=16, device="cpu")
    report = distill(teacher, new(PPO, "PopSANPolicy", env), env, **BRIEF)
    assert report.error is None
    assert len(report.student_returns) == 2


def test_the_final_episodes_are_none_of_the_labelled_ones():
    env, seeds = Walk(), []
    reset = env.reset
    env.reset = lambda **kwargs: seeds.append(kwargs.get("seed")) or reset(**kwargs)
    distill(Teacher(env, swing), new(TD3, "PopSANPolicy", env), env, **BRIEF)
    # Labelled episodes, then two of the teacher and two of the student; others follow from these.
    assert [seed for seed in seeds if seed is not None][-5:] == [2**20, 0, 1, 0, 1]


def test_one_state_a_round_still_fits_the_statistics():
    env = Walk()
    student = new(TD3, "PopSANPolicy", env)
    distill(Teacher(env, swing), student, env, **{**BRIEF, "steps": 20, "rounds": 20})
    assert student.policy.actor.features_extractor.gathered.item() > 1


def test_actions_that_begin_elsewhere_are_refused():
    env, other = Walk(spaces.Discrete(2)), Walk(spaces.Discrete(2, start=3))
    with pytest.raises(ValueError, match="the teacher's actions begin at 0, the student's at 3"):
        distill(Teacher(env, side), new(PPO, "SpikingMlpPolicy", other), other, **BRIEF)


class Still(Walk):
    """A walk that actions do not move."""

    def step(self, action):
        return super().step(np.zeros(2))


def test_a_loss_that_is_not_finite_ends_the_distillation():
    env = Still()
    teacher = Teacher(env, lambda observations: np.full((len(observations), 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="the loss of the student is not finite"):
        distill(teacher, new(TD3, "PopSANPolicy", env), env, **{**BRIEF, "exploration": 0.0})


def test_images_count_with_the_bytes_that_they_have():
    LabelledStates(spaces.Box(0, 255, (4, 84, 84), np.uint8), 50_000)
    with pytest.raises(ValueError, match="steps=300000 states of 28224 bytes each"):
        LabelledStates(spaces.Box(0, 255, (4, 84, 84), np.uint8), 300_000)


def test_labelled_states_are_kept_in_their_order_and_number():
    states = LabelledStates(spaces.Dict({"a": spaces.Box(0, 1, (2,)), "b": spaces.Discrete(3)}), 5)
    for first in range(0, 8, 4):
        numbers = np.arange(first, first + 4)
        states.add({"a": np.stack([numbers, -numbers], axis=1), "b": numbers % 3}, 10 * numbers)
    assert states.filled == 5
    observations, actions = states.batch(slice(5))
    assert actions.tolist() == [0, 10, 20, 30, 40]
    assert observations["a"][:, 1].tolist() == [0, -1, -2, -3, -4]
    assert observations["b"].tolist() == [0, 1, 2, 0, 1]
