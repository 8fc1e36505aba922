"""Benchmark suites: training steps, updates, decisions, bare networks, memory, imports."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from implementations import ACTIONS, ACTORS, IMAGES, OBSERVATIONS, VECTORS, NoiseEnv, make_actor, make_agents
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from timing import Measure, Stopwatch, printed
from torch import nn

from sb3_spiking.conversion import SpikingQPolicy, convert
from sb3_spiking.snn.precisions import has_bfloat16

STEPS = 20
"""Environment steps per measurement of training; even, because TD3 updates its actor every other step."""
HALF_CHEETAH = (spaces.Box(-np.inf, np.inf, (OBSERVATIONS,)), spaces.Box(-1.0, 1.0, (ACTIONS,)))
FRAMES = (spaces.Box(0, 255, (84, 84, 4), np.uint8), spaces.Discrete(6))


_O = TypeVar("_O", bound=OffPolicyAlgorithm)


@dataclass(frozen=True)
class Case:
    """
    One row of a suite's table.

    :param name: heading of the row
    :param measures: measurement of each implementation, the baseline first
    :param references: measurements of a reference size, in the same rounds, by implementation
    :param work: how many times the work of the reference size each implementation has
    """

    name: str
    measures: dict[str, Measure]
    references: dict[str, Measure] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """
    Benchmark suite, one table.

    :param title: heading of the table
    :param quantity: measured quantity
    :param unit: unit of the figures
    :param cases: generator of the rows, from a stopwatch
    :param most_repeats: upper bound on the rounds
    :param on_gpu: support of measurements on a GPU
    """

    title: str
    quantity: str
    unit: str
    cases: Callable[[Stopwatch], Iterator[Case]]
    most_repeats: int = sys.maxsize
    on_gpu: bool = True


def _learning(algorithm: type[_O], env: str, watch: Stopwatch) -> dict[str, _O]:
    """Return agents in mid-training."""
    arguments: dict[str, Any] = {"batch_size": 256, "learning_starts": 256, "buffer_size": 10_000}
    agents = make_agents(algorithm, VECTORS, partial(gym.make, env), device=watch.device, **arguments)
    for agent in agents.values():
        agent.learn(256 + STEPS)
    return agents


def training(algorithm: type[OffPolicyAlgorithm], env: str, watch: Stopwatch) -> Iterator[Case]:
    """Measure environment steps per second of ``learn``."""
    agents = _learning(algorithm, env, watch)

    def measure(agent: OffPolicyAlgorithm) -> Measure:
        learn = partial(agent.learn, STEPS, reset_num_timesteps=False)
        return lambda: STEPS / watch.seconds(learn)

    yield Case(env, {name: measure(agent) for name, agent in agents.items()})


def td3_update(watch: Stopwatch) -> Iterator[Case]:
    """Measure ``train``: two gradient steps, one of them with an actor update."""
    agents = _learning(TD3, "HalfCheetah-v5", watch)
    updates = {name: partial(agent.train, gradient_steps=2, batch_size=256) for name, agent in agents.items()}
    yield Case("batch 256", {name: watch.milliseconds_per_call(update) for name, update in updates.items()})


def rollout(watch: Stopwatch) -> Iterator[Case]:
    """Measure environment steps per second of rollouts, by number of environments."""
    for n_envs in (1, 8, 32):
        make_env = partial(make_vec_env, "HalfCheetah-v5", n_envs)
        arguments: dict[str, Any] = {"n_steps": 256 // n_envs, "batch_size": 64, "n_epochs": 1}
        agents = make_agents(PPO, VECTORS, make_env, learn=False, device=watch.device, **arguments)
        for agent in agents.values():
            agent.learn(256)

        def measure(agent: PPO) -> Measure:
            callback = CallbackList([])
            callback.init_callback(agent)
            assert agent.env is not None
            collect = partial(agent.collect_rollouts, agent.env, callback, agent.rollout_buffer, agent.n_steps)
            return lambda: 256 / watch.seconds(collect)

        yield Case(
            f"{n_envs} environments" if n_envs > 1 else "1 environment",
            {name: measure(agent) for name, agent in agents.items()},
        )


def ppo_update(watch: Stopwatch) -> Iterator[Case]:
    """Measure ``train`` on a full rollout buffer."""
    arguments: dict[str, Any] = {"n_steps": 512, "n_epochs": 1, "batch_size": 64}
    agents = make_agents(PPO, VECTORS, partial(gym.make, "HalfCheetah-v5"), device=watch.device, **arguments)
    for agent in agents.values():
        agent.learn(512)
    yield Case("512 steps", {name: watch.milliseconds_per_call(agent.train) for name, agent in agents.items()})


def dqn_cnn_update(watch: Stopwatch) -> Iterator[Case]:
    """Measure ``train`` on image observations."""
    arguments: dict[str, Any] = {"buffer_size": 256, "learning_starts": 256}
    agents = make_agents(DQN, IMAGES, partial(NoiseEnv, *FRAMES), device=watch.device, **arguments)
    for agent in agents.values():
        agent.learn(256)
    updates = {name: partial(agent.train, gradient_steps=1, batch_size=32) for name, agent in agents.items()}
    yield Case("batch 32", {name: watch.milliseconds_per_call(update) for name, update in updates.items()})


def predict(watch: Stopwatch) -> Iterator[Case]:
    """Measure ``predict`` of complete agents, by algorithm and number of observations."""
    box = HALF_CHEETAH[1]
    for algorithm, actions in ((TD3, box), (SAC, box), (PPO, box), (DQN, spaces.Discrete(ACTIONS))):
        arguments: dict[str, Any] = {"learn": False, "device": watch.device}
        if algorithm is not PPO:
            arguments["buffer_size"] = 1
        agents = make_agents(algorithm, VECTORS, partial(NoiseEnv, HALF_CHEETAH[0], actions), **arguments)
        acting = {name: agents[name] for name in ("mlp", "nodes", "spiking", "spiking-bfloat16")}
        yield from _decisions(algorithm.__name__, acting, OBSERVATIONS, watch)


def _decisions(name: str, agents: Mapping[str, Any], size: int, watch: Stopwatch) -> Iterator[Case]:
    """Measure decisions of agents on 1, 8 and 64 observations."""
    for count in (1, 8, 64):
        observations = np.random.default_rng(0).uniform(-1.0, 1.0, (count, size)).astype(np.float32)
        decisions = {key: partial(agent.predict, observations, deterministic=True) for key, agent in agents.items()}
        yield Case(
            f"{name}, {count} observations" if count > 1 else f"{name}, 1 observation",
            {key: watch.milliseconds_per_call(decide) for key, decide in decisions.items()},
        )


@th.no_grad()
def forward(network: nn.Module, observations: th.Tensor) -> None:
    """Run a forward pass."""
    network(observations)


def forward_backward(network: nn.Module, observations: th.Tensor) -> None:
    """Run a forward and a backward pass."""
    network.zero_grad()
    network(observations).sum().backward()


def networks(
    name: str, run: Callable[[nn.Module, th.Tensor], None], actors: dict[str, nn.Module], batch: int, watch: Stopwatch
) -> Case:
    """Measure networks on one batch."""
    observations = th.randn(batch, OBSERVATIONS, device=watch.device)
    calls = {actor: partial(run, network.to(watch.device), observations) for actor, network in actors.items()}
    return Case(name, {actor: watch.milliseconds_per_call(call) for actor, call in calls.items()})


def actor(watch: Stopwatch) -> Iterator[Case]:
    """Measure the bare actor network, by batch size."""
    actors = {name: make_actor(name) for name in ACTORS}
    for name, run in {"forward": forward, "forward + backward": forward_backward}.items():
        for batch in (1, 32, 256, 1024, 4096):
            yield networks(f"{name}, batch {batch}", run, actors, batch, watch)


def compiled(watch: Stopwatch) -> Iterator[Case]:
    """Measure the bare actor network beside SpikingJelly's nodes under ``torch.compile``; compiling takes a minute."""
    actors = {name: make_actor(name) for name in ("mlp", "plain", "spiking")}
    actors["plain-compiled"] = make_actor("plain")
    actors["plain-compiled"].compile()
    for name, run in {"forward": forward, "forward + backward": forward_backward}.items():
        yield networks(f"{name}, batch 256", run, actors, 256, watch)


@dataclass(frozen=True)
class Size:
    """
    Size of an actor network's pass.

    :param batch: observations
    :param steps: time steps
    :param width: neurons of each of the two layers
    """

    batch: int = 256
    steps: int = 5
    width: int = 256

    def work(self, network: nn.Module) -> float:
        """Return the number of multiplications of all the products, of a network of this size."""
        synapses = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear))
        return float(self.batch * synapses * (1 if isinstance(network, nn.Sequential) else self.steps))


REFERENCE = Size()
"""Size that the cost of others is compared with."""
SIZES = {
    "batch {batch}": [Size(batch=batch) for batch in (64, 128, 256, 512, 1024, 2048, 4096, 8192)],
    "T = {steps}": [Size(steps=steps) for steps in (1, 2, 4, 8, 16, 32)],
    "width {width}": [Size(width=width) for width in (64, 128, 256, 512, 1024, 2048)],
}
"""Name of a case, with a place for what grows -> sizes."""


def growth(watch: Stopwatch) -> Iterator[Case]:
    """Measure the bare actor network by batch, time steps and width, each beside the reference size."""
    some = ["mlp", "spiking", *(["spiking-bfloat16"] if has_bfloat16() else [])]

    def measures(
        run: Callable[[nn.Module, th.Tensor], None], size: Size
    ) -> tuple[dict[str, Measure], dict[str, float]]:
        actors = {name: make_actor(name, (size.width, size.width), time_steps=size.steps) for name in some}
        case = networks("", run, actors, size.batch, watch)
        return case.measures, {name: size.work(network) for name, network in actors.items()}

    for run_name, run in {"forward": forward, "forward + backward": forward_backward}.items():
        references, least = measures(run, REFERENCE)
        for name, sizes in SIZES.items():
            for size in sizes:
                case, work = measures(run, size)
                relative = {each: work[each] / least[each] for each in work}
                yield Case(f"{run_name}, {name.format(**vars(size))}", case, references, relative)


def conversion(watch: Stopwatch) -> Iterator[Case]:
    """Measure decisions of a DQN and of its conversions."""
    dqn = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, seed=0, device="cpu")
    states = np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 4)).astype(np.float32)
    policies: dict[str, DQN | SpikingQPolicy] = {
        "dqn": dqn,
        "ternary, T = 10": convert(dqn, states),
        "few-spike, T = 16": convert(dqn, states, method="few-spike"),
        "rate, T = 64": convert(dqn, states, method="rate", time_steps=64),
    }
    yield from _decisions("CartPole", policies, 4, watch)


def memory(watch: Stopwatch) -> Iterator[Case]:
    """Measure peak memory, each figure in a fresh process."""
    script = str(Path(__file__).with_name("peak_memory.py"))
    for batch in (256, 4096):
        yield Case(f"batch {batch}", {name: printed([sys.executable, script, name, str(batch)]) for name in ACTORS})


def imports(watch: Stopwatch) -> Iterator[Case]:
    """Measure import times, each figure in a fresh process."""
    script = "import time; start = time.process_time(); import {}; print(1e3 * (time.process_time() - start))"
    packages = ("stable_baselines3", "sb3_spiking")
    yield Case("fresh process", {name: printed([sys.executable, "-c", script.format(name)]) for name in packages})


SUITES = {
    "td3-step": Suite(
        "TD3 on HalfCheetah",
        "TD3.learn, one gradient step of batch 256 each",
        "steps/s",
        partial(training, TD3, "HalfCheetah-v5"),
    ),
    "td3-step-ant": Suite(
        "TD3 on Ant", "TD3.learn, one gradient step of batch 256 each", "steps/s", partial(training, TD3, "Ant-v5")
    ),
    "td3-update": Suite(
        "Gradient steps of TD3", "TD3.train, two gradient steps of batch 256 on HalfCheetah-v5", "ms", td3_update
    ),
    "sac-step": Suite(
        "SAC on HalfCheetah",
        "SAC.learn, one gradient step of batch 256 each",
        "steps/s",
        partial(training, SAC, "HalfCheetah-v5"),
    ),
    "rollout": Suite("Rollouts of PPO", "PPO.collect_rollouts on HalfCheetah-v5, 256 steps", "steps/s", rollout),
    "ppo-update": Suite(
        "Updates of PPO", "PPO.train, one epoch of a rollout on HalfCheetah-v5 in batches of 64", "ms", ppo_update
    ),
    "dqn-cnn-update": Suite(
        "Updates of DQN on Atari frames",
        "DQN.train, one gradient step on frames of 84 x 84 x 4, T = 4",
        "ms",
        dqn_cnn_update,
    ),
    "predict": Suite("Predictions", "predict, deterministic, on observations of HalfCheetah-v5's size", "ms", predict),
    "actor": Suite("The actor alone", "actor network alone", "ms", actor),
    "compiled": Suite(
        "The actor under torch.compile",
        "actor network alone, SpikingJelly's nodes under torch.compile too",
        "ms",
        compiled,
    ),
    "growth": Suite(
        "More time steps, wider layers",
        "actor network alone; batch 256, T = 5, width 256 if not said",
        "ms",
        growth,
    ),
    "conversion": Suite(
        "Converted DQNs", "decisions of a DQN for CartPole-v1 and of its conversions", "ms", conversion, on_gpu=False
    ),
    "memory": Suite(
        "Memory",
        "peak growth in forward + backward of the actor network alone",
        "MiB",
        memory,
        most_repeats=3,
        on_gpu=False,
    ),
    "import": Suite("Imports", "importing a package and all that it imports", "ms", imports, on_gpu=False),
}
