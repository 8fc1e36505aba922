"""From a trained DQN to a spiking policy."""

from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.arguments import positive_int
from sb3_spiking.conversion.agent import Source, load_dqn
from sb3_spiking.conversion.calibration import thresholds
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.conversion.finetuning import finetune
from sb3_spiking.conversion.methods import DEFAULT, Method, make_method
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.conversion.policy import DenseQPolicy, Observation, SpikingQPolicy, features_shape, whole_numbers
from sb3_spiking.conversion.rollout import check_states, collect
from sb3_spiking.environments.recipe import EnvRecipe, environments

CALIBRATION_ENVS = 8


def convert(
    dqn: DenseQPolicy | Source,
    observations: Observation | None = None,
    env: VecEnv | EnvRecipe | str | None = None,
    coding: str = DEFAULT,
    time_steps: int | None = None,
    threshold: str | None = None,
    per_neuron: bool | None = None,
    *,
    finetune_steps: int = 0,
    states: int = 10_000,
    epsilon: float = 0.05,
    seed: int = 0,
    trust: bool = False,
    progress: Callable[[int], Any] = lambda rows: None,
    **constants: Any,
) -> SpikingQPolicy:
    """
    Turn a trained DQN or QRDQN into a spiking policy.

    :param dqn: a model, the file of one (read as data), or what `load_dqn` returned; it is not changed
    :param observations: states to calibrate the thresholds on, as the agent met them, ``[N, *shape]``
    :param env: where to let the agent collect such states, if there are none: an id of gymnasium, how to make it, or
        environments
    :param coding: how spikes carry activations, a key of ``METHODS``
    :param time_steps: steps in which a neuron can spike; the coding's default if None
    :param threshold: ``"max"``, ``"99.9%"`` or ``"max*1.5"``; the coding's default if None
    :param per_neuron: a threshold for each neuron (channel) instead of each layer; the coding's default if None
    :param finetune_steps: gradient steps of distillation after the conversion, see `finetune`
    :param states: how many states to collect
    :param epsilon: probability of a random action while collecting
    :param seed: of the environments, and of the fine-tuning
    :param trust: where a file needs code to be read, load it with SB3, which runs it
    :param progress: is told how many states have just been collected
    :param constants: others of the coding's values, for example ``initial=0.0``
    :return: a policy that spikes
    :raises ValueError: if the agent cannot be converted, a value is not allowed, or there is nothing to calibrate on
    """
    method = make_method(coding, time_steps, threshold, per_neuron, **constants)
    teacher = dqn if isinstance(dqn, DenseQPolicy) else load_dqn(dqn, trust)
    check_decision(teacher.network.layers, features_shape(teacher.observation_space), method.coding.time_steps)
    if observations is None:
        if env is None:
            raise ValueError("observations=None and env=None: thresholds need states; pass an environment or states")
        observations = calibration_states(teacher, env, states, epsilon, seed, progress)
    return convert_policy(teacher, observations, method, finetune_steps, seed)


def calibration_states(
    dqn: DenseQPolicy,
    env: VecEnv | EnvRecipe | str,
    states: int = 10_000,
    epsilon: float = 0.05,
    seed: int = 0,
    progress: Callable[[int], Any] = lambda rows: None,
) -> Observation:
    """
    Let the DQN collect states.

    :param dqn: the DQN
    :param env: where: an id of gymnasium, how to make it, or environments
    :param states: how many
    :param epsilon: probability of a random action
    :param seed: of the environments
    :param progress: is told how many states have just been collected
    :return: ``[states, *shape]``, or these of each entry of a Dict
    :raises ValueError: if there is no such environment, it is not the agent's, or so many states take too much memory
    """
    check_states(dqn.observation_space, positive_int("states", states))
    with environments(env, dqn.observation_space, dqn.action_space, CALIBRATION_ENVS, seed) as venv:
        return collect(dqn, venv, states, seed, epsilon, progress)


def convert_policy(
    dqn: DenseQPolicy,
    observations: Observation,
    method: Method,
    finetune_steps: int = 0,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda loss: None,
) -> SpikingQPolicy:
    """
    Turn a DQN into a spiking policy.

    :param dqn: the DQN
    :param observations: states to calibrate the thresholds on, ``[N, *shape]``, or these of each entry of a Dict
    :param method: which coding, which thresholds
    :param finetune_steps: gradient steps of distillation after the conversion
    :param seed: of the fine-tuning
    :param progress: is told the loss of every such step
    :return: a policy that spikes
    :raises ValueError: if the observations are not the agent's, or not finite
    """
    features = checked_features(dqn, observations)
    network, values = dqn.network, thresholds(dqn.network, features, method.threshold)
    if finetune_steps:
        network, values = finetune(
            network, values, method.coding, features, finetune_steps, seed=seed, progress=progress
        )
    origin = {
        "threshold": str(method.threshold),
        "per_neuron": method.threshold.per_neuron,
        "calibration_states": len(features),
        "finetune_steps": finetune_steps,
    }
    return SpikingQPolicy(
        convert_layers(network, values, method.coding),
        dqn.observation_space,
        dqn.action_space,
        dqn.normalize_images,
        dqn.epsilon,
        origin=origin,
    )


def checked_features(dqn: DenseQPolicy, observations: Observation) -> th.Tensor:
    """
    Preprocess observations that a user gives.

    :param dqn: whose observations they are
    :param observations: ``[N, *shape]``, or these of each entry of a Dict
    :return: ``[N, ...]``
    :raises ValueError: if they are not the agent's, or not finite
    """
    try:
        tensors, vectorized = dqn.obs_to_tensor(whole_numbers(observations, dqn.observation_space))
        features = dqn.features(tensors)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:  # SB3's and torch's
        raise ValueError(f"observations do not fit the agent's {dqn.observation_space}: {error}") from error
    if not vectorized or len(features) == 0:
        raise ValueError("observations must be a batch of at least one state, [N, *shape]")
    if not bool(th.isfinite(features).all()):
        raise ValueError("observations must be finite: there are NaN or infinite values")
    return features
