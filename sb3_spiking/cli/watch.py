"""Film a spiking agent beside its spikes.

Takes what convert has written, or a model with a spiking policy that model.save has written. The latter are loaded
with SB3, which runs code in the file: this needs --trust. The environment is taken from --env, else from what was noted
at the conversion, the folder of rl_zoo3 around the file or the file's name.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.callbacks import randomness_untouched
from sb3_spiking.cli import environment
from sb3_spiking.cli.console import Task, note, progress
from sb3_spiking.cli.screen import Screen
from sb3_spiking.cli.video import check_video, filmed, frames_per_second, picture, write
from sb3_spiking.conversion.environment import EnvSpec
from sb3_spiking.conversion.files import is_converted
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.conversion.reading.archive import TRUST, reading
from sb3_spiking.conversion.reading.inspection import inspect_zip
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.registry import ALGORITHMS
from sb3_spiking.snn import Recording

NAMED = {algorithm.__name__.lower(): algorithm for algorithm in ALGORITHMS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="model.zip", help="what convert or model.save has written")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: <name>.mp4 beside it, .gif without ffmpeg"
    )
    environment.add_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the episode (default: 0)")
    parser.add_argument("--frames", type=int, default=300, help="decisions at most (default: %(default)s)")
    parser.add_argument("--fps", type=int, help="frames per second (default: the environment's own)")
    parser.add_argument("--trust", action="store_true", help="load the file with SB3, which runs code in it")
    parser.add_argument("--algo", choices=list(NAMED), help="which algorithm's file it is, of a policy of your own")
    parser.add_argument("--force", action="store_true", help="replace a film that is there already")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> None:
    """
    Film.

    :param args: parsed options
    :raises ValueError: if something is not as it should be; nothing is written then
    """
    output = args.output or args.path.with_suffix(".mp4" if shutil.which("ffmpeg") else ".gif")
    check_video(output, args.force, "--output")
    for option in ("frames", "fps"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ValueError(f"--{option} {getattr(args, option)} must be at least 1")
    policy: Any
    if is_converted(args.path):
        policy = SpikingQPolicy.load(args.path)
        spec = environment.env_of_converted(args, policy)
    else:
        policy = load_policy(args.path, args.trust, args.algo)
        spec = environment.known_env_of(args, policy.observation_space, policy.action_space)
    with (
        filmed(spec, policy.observation_space, policy.action_space, args.seed) as env,
        progress("filming", args.frames, args.quiet) as task,
    ):
        write(shots(policy, env, spec, args.seed, args.frames, task), args.fps or frames_per_second(env), output)
    note(f"written: {output}")


def load_policy(path: Path, trust: bool, algo: str | None) -> SpikingPolicy:
    """
    Load the spiking policy of a model of SB3.

    :param path: what ``model.save`` has written
    :param trust: whether code in the file may run; without, nothing in it is
    :param algo: name of the algorithm, in lower case; told by the policy if None
    :return: the policy
    :raises ValueError: if it does not spike, its algorithm cannot be told, or it is not trusted
    """
    contents = inspect_zip(path)
    algorithm = _algorithm_with(contents.policy_class) if algo is None else NAMED[algo]
    if algorithm is None and contents.algorithm is not None:
        raise ValueError(
            f"{path}: the policy {contents.policy_class} does not spike; "
            "sb3-spiking convert makes a spiking network of a DQN, and watch films that"
        )
    if algorithm is None:
        named = f", {contents.policy_class}" if contents.policy_class else ""
        raise ValueError(f"{path}: has a policy of its own{named}; say with --algo which algorithm it is for")
    if not trust:
        raise ValueError(f"{path}: is a model of SB3; {TRUST}")
    note(f"loading {path} with {algorithm.__name__}")
    with reading(path):  # which may fail in any way, as its author pleases
        policy = algorithm.load(path, device="cpu").policy
    if not isinstance(policy, SpikingPolicy):
        raise ValueError(f"{path}: the policy {type(policy).__name__} does not spike")
    return policy


def _algorithm_with(policy_class: str | None) -> type[BaseAlgorithm] | None:
    """Return the first algorithm with a policy of this name: those of a family act alike, they differ in learning."""
    for algorithm in ALGORITHMS:
        if any(f"{cls.__module__}.{cls.__qualname__}" == policy_class for cls in _spiking(algorithm)):
            return algorithm
    return None


def _spiking(algorithm: type[BaseAlgorithm]) -> Iterator[type]:
    return (policy for policy in algorithm.policy_aliases.values() if issubclass(policy, SpikingPolicy))


def shots(policy: Any, env: VecEnv, spec: EnvSpec, seed: int, frames: int, task: Task) -> Iterator[np.ndarray]:
    """
    Play an episode and yield a frame for each decision: the environment, and the spikes until then.

    :param policy: who plays, a ``SpikingPolicy`` or a ``SpikingQPolicy``
    :param env: a filmed environment
    :param spec: which one it is
    :param seed: of the episode
    :param frames: decisions at most
    :param task: is told of each
    :return: ``[height, width, 3]`` of uint8
    """
    th.manual_seed(seed)  # Poisson encoders draw from it.
    env.seed(seed)
    observations: Any = env.reset()
    screen: Screen | None = None
    state, starts, score = None, np.ones(1, dtype=bool), 0.0
    for index in range(frames):
        image, recording = picture(env, spec), recorded(policy, observations, state, starts)
        screen = screen or Screen(image, recording)
        yield screen.shot(image, recording, f"decision {index + 1}, return {score:.4g}")
        task.advance()
        actions, state = policy.predict(observations, state, starts, deterministic=True)
        observations, rewards, starts, infos = env.step(actions)
        score += float(rewards[0])
        if "episode" in infos[0]:  # The monitor's: a life lost is no end.
            break


def recorded(policy: Any, observations: Any, state: Any, starts: np.ndarray) -> Recording:
    """
    Return the spikes of the decision that the policy is about to make, which it makes with the same random numbers.

    :param policy: who decides
    :param observations: ``[1, *shape]``, or these of each entry of a Dict
    :param state: what ``predict`` returned before
    :param starts: whether an episode has just begun, ``[1]``
    :return: what every population does
    """
    with randomness_untouched():
        if isinstance(policy, SpikingQPolicy):
            return policy.record(observations, state, starts)
        return policy.spiking_network.record(policy.spiking_features(policy.obs_to_tensor(observations)[0]))
