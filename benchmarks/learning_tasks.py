"""
Learning tasks and the agents that are compared on them.

The agents of a task have the same arguments of the algorithm. They are

* ``popsan``, ``spiking-cnn``: the spiking policies with their defaults; ``...-corrected`` with common-mode correction,
* ``mlp``, ``cnn``: SB3's own policies (the CNN with the geometry of the spiking one),
* ``mlp-normalized``, ``cnn-normalized``: the same with the normalisation of the spiking policies (of observations and
  of the layers' currents), so that effects of normalisation are not credited to spikes,
* ``mlp-matched``: the normalised ANN whose actor also learns at the rate of TD3's spiking actor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

import sb3_spiking
from sb3_spiking.optimizers.learning_rate import scaled_optimizer
from sb3_spiking.policies import ConvExtractor, RunningNormExtractor
from sb3_spiking.policies.td3 import SpikingTD3Policy
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.zoo import FILES

SEEDS = (0, 1, 2)
FRESH_SEEDS = (11, 12, 13)  # for hyperparameters that were tuned on the others


@dataclass(frozen=True)
class Agent:
    """
    A policy and its arguments.

    :param policy: alias or class of the policy
    :param policy_kwargs: arguments of the policy
    """

    policy: str | type[BasePolicy]
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)


POPSAN = Agent("PopSANPolicy")
SPIKING_CNN = Agent("SpikingCnnPolicy")
CORRECTED = {"common_mode_correction": True}


class LayerNormExtractor(ConvExtractor):
    """
    ANN torso with the normalisation of the spiking layers before each ReLU.

    :param observation_space: space of the images
    :param kwargs: arguments of ``ConvExtractor``
    """

    def __init__(self, observation_space: spaces.Space, **kwargs: Any) -> None:
        super().__init__(observation_space, **kwargs)
        for branch in self.torso.branches:
            assert isinstance(branch, nn.Sequential)
            # From the end, so that insertions do not move the remaining modules.
            for index, module in reversed(list(enumerate(branch))):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    branch.insert(index + 1, CurrentNorm(len(module.weight), threshold=1.0))


class MatchedTD3Policy(TD3Policy):
    """SB3's TD3 policy whose actor learns at the rate of the spiking actor."""

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        parameters = list(self.actor.parameters())
        scale = SpikingTD3Policy.default_actor_lr_scale
        self.actor.optimizer = scaled_optimizer(
            self.optimizer_class, parameters, parameters, scale, lr=lr_schedule(1), **self.optimizer_kwargs
        )


MLP = Agent("MlpPolicy")
MLP_NORMALIZED = Agent("MlpPolicy", {"features_extractor_class": RunningNormExtractor})
# On-policy algorithms keep the statistics of a rollout during its update, as the spiking policies do.
MLP_NORMALIZED_ROLLOUTS = Agent(
    "MlpPolicy", {**MLP_NORMALIZED.policy_kwargs, "features_extractor_kwargs": {"deferred": True}}
)
MLP_MATCHED = Agent(MatchedTD3Policy, MLP_NORMALIZED.policy_kwargs)
CNN = Agent("CnnPolicy", {"features_extractor_class": ConvExtractor, "net_arch": []})
CNN_NORMALIZED = Agent("CnnPolicy", {"features_extractor_class": LayerNormExtractor, "net_arch": []})


@dataclass(frozen=True)
class Task:
    """
    Learning task.

    :param algorithm: name of the algorithm
    :param env: id of the environment, ``"minatar-<game>"`` for MinAtar
    :param steps: budget of environment steps
    :param agents: compared agents, the spiking ones first
    :param arguments: arguments of the algorithm, the same for all agents
    :param policy_kwargs: arguments of the policies, the same for all agents
    :param n_envs: number of parallel environments
    :param noise: standard deviation of the action noise
    :param evaluations: number of evaluations
    :param eval_episodes: episodes of each evaluation
    :param seeds: seeds of the runs
    :param ranks: number of data-parallel processes, started by ``torchrun --nproc-per-node``
    """

    algorithm: str
    env: str
    steps: int
    agents: Mapping[str, Agent]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    n_envs: int = 1
    noise: float = 0.0
    evaluations: int = 10
    eval_episodes: int = 10
    seeds: tuple[int, ...] = SEEDS
    ranks: int = 1


CONTROL = {"popsan": POPSAN, "mlp": MLP, "mlp-normalized": MLP_NORMALIZED}
ROLLOUT_CONTROL = {**CONTROL, "mlp-normalized": MLP_NORMALIZED_ROLLOUTS}
MATCHED_CONTROL = {"popsan": POPSAN, "popsan-proxy": Agent("PopSANPolicy", {"proxy_target": True}), **CONTROL}
MATCHED_CONTROL["mlp-matched"] = MLP_MATCHED
VECTORS = {"popsan": POPSAN, "mlp": MLP}
VECTOR_VALUES = {"popsan": POPSAN, "popsan-corrected": Agent("PopSANPolicy", CORRECTED), "mlp": MLP}
IMAGES = {"spiking-cnn": SPIKING_CNN, "cnn": CNN, "cnn-normalized": CNN_NORMALIZED}
IMAGE_VALUES = {**IMAGES, "spiking-cnn-corrected": Agent("SpikingCnnPolicy", CORRECTED)}

LABELS = {
    "popsan": "PopSANPolicy",
    "popsan-proxy": "PopSANPolicy, proxy target",
    "popsan-corrected": "PopSANPolicy, common-mode correction",
    "mlp": "MlpPolicy",
    "mlp-normalized": "MlpPolicy, observations normalised",
    "mlp-matched": "MlpPolicy, observations normalised, the spiking actor's rate",
    "spiking-cnn": "SpikingCnnPolicy",
    "spiking-cnn-corrected": "SpikingCnnPolicy, common-mode correction",
    "cnn": "CnnPolicy",
    "cnn-normalized": "CnnPolicy, layers normalised",
}
"""Labels of the agents in tables and figures."""

ZOO_ONLY = ("policy", "policy_kwargs", "n_timesteps", "n_envs", "env_wrapper")
"""Hyperparameters of rl_zoo3 that are no arguments of the algorithm."""


def packaged_arguments(algorithm: str, env: str) -> dict[str, Any]:
    """
    Return an algorithm's arguments out of the packaged hyperparameters.

    :param algorithm: name of the algorithm, lower case
    :param env: id of the environment in the packaged file
    :return: arguments, with rl_zoo3's linear schedules as SB3's
    """
    found: dict[str, Any] = yaml.safe_load(FILES[algorithm].read_text())[env]
    arguments = {name: value for name, value in found.items() if name not in ZOO_ONLY}
    rate = arguments["learning_rate"]
    if isinstance(rate, str):
        arguments["learning_rate"] = LinearSchedule(float(rate.removeprefix("lin_")), 0.0, 1.0)
    return arguments


# Tuned by hand on seed 0, more on the spiking agent than on the ANN; see docs/results.md.
DQN_CARTPOLE = packaged_arguments("dqn", "CartPole-v1")
# The better of two learning rates on seed 100, for the spiking agent as for the ANN.
PPO_MINATAR = packaged_arguments("ppo", "MinAtar/Breakout-v1")
DQN_MINATAR = packaged_arguments("dqn", "MinAtar/Breakout-v1")

TASKS = {
    "td3-halfcheetah": Task(
        "TD3", "HalfCheetah-v5", 100_000, CONTROL, {"learning_starts": 10_000}, noise=0.1, eval_episodes=5
    ),
    "td3-doublependulum-2-ranks": Task(
        "TD3",
        "InvertedDoublePendulum-v5",
        50_000,
        {"popsan": POPSAN},
        {"learning_starts": 10_000},
        noise=0.1,
        eval_episodes=5,
        ranks=2,
    ),
    "td3-doublependulum": Task(
        "TD3", "InvertedDoublePendulum-v5", 50_000, CONTROL, {"learning_starts": 10_000}, noise=0.1, eval_episodes=5
    ),
    "sac-pendulum": Task("SAC", "Pendulum-v1", 10_000, VECTORS),
    "tqc-pendulum": Task("TQC", "Pendulum-v1", 10_000, VECTORS),
    "ppo-pendulum": Task("PPO", "InvertedPendulum-v5", 100_000, VECTORS),
    "ppo-cartpole": Task("PPO", "CartPole-v1", 100_000, VECTORS),
    "a2c-cartpole": Task("A2C", "CartPole-v1", 100_000, VECTORS, n_envs=8),
    "trpo-cartpole": Task("TRPO", "CartPole-v1", 100_000, VECTORS),
    "dqn-cartpole": Task(
        "DQN", "CartPole-v1", 50_000, VECTOR_VALUES, DQN_CARTPOLE, {"net_arch": [256, 256]}, seeds=FRESH_SEEDS
    ),
    "qrdqn-cartpole": Task(
        "QRDQN",
        "CartPole-v1",
        50_000,
        VECTORS,
        DQN_CARTPOLE,
        {"net_arch": [256, 256], "n_quantiles": 10},
        seeds=FRESH_SEEDS,
    ),
    "ppo-minatar-breakout": Task("PPO", "minatar-breakout", 1_000_000, IMAGES, PPO_MINATAR, n_envs=8, eval_episodes=30),
    "dqn-minatar-breakout": Task("DQN", "minatar-breakout", 200_000, IMAGE_VALUES, DQN_MINATAR, eval_episodes=30),
}

# The hyperparameters of Breakout: no game has its own.
for game in ("asterix", "space_invaders"):
    name, env = game.replace("_", "-"), f"minatar-{game}"
    TASKS[f"ppo-minatar-{name}"] = Task("PPO", env, 1_000_000, IMAGES, PPO_MINATAR, n_envs=8, eval_episodes=30)
    TASKS[f"dqn-minatar-{name}"] = Task("DQN", env, 200_000, IMAGE_VALUES, DQN_MINATAR, eval_episodes=30)

MUJOCO = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "ant": "Ant-v5"}

TASKS |= {
    f"ppo-{name}-1m": Task("PPO", env, 1_000_000, ROLLOUT_CONTROL, evaluations=20) for name, env in MUJOCO.items()
}
# The buffer never wraps around: the runs are those of SB3's million, and a checkpoint has no empty rows.
TASKS |= {
    f"td3-{name}-300k": Task(
        "TD3",
        env,
        300_000,
        MATCHED_CONTROL,
        {"learning_starts": 10_000, "buffer_size": 300_000},
        noise=0.1,
        evaluations=30,
    )
    for name, env in MUJOCO.items()
}


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """Return the class of an algorithm of SB3 or sb3-contrib."""
    own: dict[str, type[BaseAlgorithm]] = {cls.__name__: cls for cls in (A2C, DQN, PPO, SAC, TD3)}
    if name in own:
        return own[name]
    import sb3_contrib

    return getattr(sb3_contrib, name)


def make_env(task: Task, n_envs: int, seed: int) -> VecEnv:
    """Return monitored environments."""
    if task.env.startswith("minatar-"):
        return sb3_spiking.make_minatar_env(task.env.removeprefix("minatar-"), n_envs, seed)
    return make_vec_env(task.env, n_envs, seed)


def make_model(task: Task, agent: Agent, seed: int) -> BaseAlgorithm:
    """Return an untrained agent with the task's arguments."""
    env = make_env(task, task.n_envs, seed)
    arguments = dict(task.arguments)
    if task.noise > 0:
        shape = env.action_space.shape
        arguments["action_noise"] = NormalActionNoise(np.zeros(shape), task.noise * np.ones(shape))
    policy_kwargs = {**task.policy_kwargs, **agent.policy_kwargs}
    return algorithm_class(task.algorithm)(
        agent.policy, env, seed=seed, policy_kwargs=policy_kwargs, device="cpu", **arguments
    )
