"""Conversion of a trained DQN to a spiking policy."""

from collections.abc import Callable
from typing import Any

import torch as th

from sb3_spiking.arguments import non_negative_int, positive_int, probability
from sb3_spiking.conversion.agent import Source, load_dqn
from sb3_spiking.conversion.calibration import thresholds
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.conversion.finetuning import finetune
from sb3_spiking.conversion.methods import Method, make_method
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.conversion.policy import DenseQPolicy, SpikingQPolicy, whole_numbers
from sb3_spiking.environments.recipe import AnyEnv, environments
from sb3_spiking.evaluation.rollout import collect
from sb3_spiking.evaluation.states import check_states
from sb3_spiking.observations import Observation, features_shape

CALIBRATION_ENVS = 8


def convert(
    dqn: DenseQPolicy | Source,
    observations: Observation | None = None,
    env: AnyEnv | None = None,
    method: str | Method | None = None,
    time_steps: int | None = None,
    threshold: str | None = None,
    per_neuron: bool | None = None,
    *,
    finetune_steps: int = 0,
    states: int = 10_000,
    epsilon: float = 0.05,
    seed: int = 0,
    trust: bool = False,
    progress: Callable[[], Any] = lambda: None,
    **constants: Any,
) -> SpikingQPolicy:
    """
    Convert a trained DQN or QRDQN to a spiking policy.

    :param dqn: the DQN: a model, its file (read as data), or the policy that `load_dqn` returned; it is not changed
    :param observations: calibration states of the thresholds, as the agent met them, ``[N, *shape]``
    :param env: environment in which the agent collects such states, if none are given: one or several, its id or its
        recipe
    :param method: method of conversion, a key of ``METHODS``; ``"ternary"`` if None
    :param time_steps: number of time steps in which a neuron can spike; the method's default if None
    :param threshold: rule of the thresholds: ``"max"``, ``"99.9%"`` or ``"max*1.5"``; the method's default if None
    :param per_neuron: whether each neuron (channel) has a threshold of its own, or else each layer; the method's
        default if None
    :param finetune_steps: number of gradient steps of distillation after the conversion, >= 0, see `finetune`
    :param states: number of states to collect, >= 1
    :param epsilon: probability of a random action during the collection, in [0, 1]
    :param seed: seed of the environments and of the fine-tuning
    :param trust: whether SB3 may load a file that needs code to be read, and run the code
    :param progress: function called after each collected state, without arguments
    :param constants: further constants of the coding, for example ``initial=0.0``
    :return: the spiking policy
    :raises ValueError: if the agent cannot be converted, a value is not allowed, or there is nothing to calibrate on
    """
    chosen = make_method(method, time_steps, threshold, per_neuron, **constants)
    non_negative_int("finetune_steps", finetune_steps)
    positive_int("states", states)
    probability("epsilon", epsilon)
    teacher = dqn if isinstance(dqn, DenseQPolicy) else load_dqn(dqn, trust)
    check_decision(teacher.network.layers, features_shape(teacher.observation_space), chosen.coding.time_steps)
    if observations is None:
        if env is None:
            raise ValueError("observations=None and env=None: thresholds need states; pass an environment or states")
        observations = calibration_states(teacher, env, states, epsilon, seed, progress)
    return convert_policy(teacher, observations, chosen, finetune_steps, seed)


def calibration_states(
    dqn: DenseQPolicy,
    env: AnyEnv,
    states: int = 10_000,
    epsilon: float = 0.05,
    seed: int = 0,
    progress: Callable[[], Any] = lambda: None,
) -> Observation:
    """
    Collect states that the DQN meets.

    :param dqn: the DQN
    :param env: an environment or several, its id or its recipe
    :param states: number of states, >= 1
    :param epsilon: probability of a random action, in [0, 1]
    :param seed: seed of the environments
    :param progress: function called after each collected state, without arguments
    :return: ``[states, *shape]``, or a dict of such arrays
    :raises ValueError: if the environment is unknown or does not fit the agent, or the states take too much memory
    """
    check_states(dqn.observation_space, positive_int("states", states))
    probability("epsilon", epsilon)
    with environments(env, dqn.observation_space, dqn.action_space, CALIBRATION_ENVS, seed) as venv:
        return collect(dqn, venv, states, seed, epsilon, progress)


def convert_policy(
    dqn: DenseQPolicy,
    observations: Observation,
    method: Method,
    finetune_steps: int = 0,
    seed: int = 0,
    progress: Callable[[], Any] = lambda: None,
) -> SpikingQPolicy:
    """
    Convert a DQN with given calibration states.

    :param dqn: the DQN
    :param observations: calibration states of the thresholds, ``[N, *shape]``, or a dict of such arrays
    :param method: coding and thresholds
    :param finetune_steps: number of gradient steps of distillation after the conversion, >= 0
    :param seed: seed of the fine-tuning
    :param progress: function called after each gradient step, without arguments
    :return: the spiking policy
    :raises ValueError: if the observations do not fit the agent, or are not finite
    """
    non_negative_int("finetune_steps", finetune_steps)
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
    Preprocess observations, with an error that explains what does not fit.

    :param dqn: agent of the observations
    :param observations: ``[N, *shape]``, or a dict of such arrays
    :return: ``[N, ...]``
    :raises ValueError: if the observations do not fit the agent, or are not finite
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
