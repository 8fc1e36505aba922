"""A trained DQN or QR-DQN read from its zip file, without running the code that may be in it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch as th
from gymnasium import spaces

from sb3_spiking.reading.algorithms import algorithm_of, is_known_policy
from sb3_spiking.reading.archive import (
    TRUST,
    CheckpointError,
    NeedsCodeError,
    read_data,
    read_pickle,
    read_version,
    read_weights,
    reading,
)
from sb3_spiking.reading.inert_pickles import Name
from sb3_spiking.reading.saved_arrays import pickled_number
from sb3_spiking.reading.saved_spaces import read_space
from sb3_spiking.reading.saved_weights import (
    Extractor,
    check_shapes,
    hidden_sizes,
    image_torsos,
    online_weights,
)
from sb3_spiking.reading.zip_files import Archive, open_archive
from sb3_spiking.snn.convolutions import ConvArch

__all__ = ["Checkpoint", "CheckpointError", "NeedsCodeError", "read_checkpoint"]

NETWORKS = {"DQN": "q_net", "QRDQN": "quantile_net"}
"""The algorithms that can be read, and what their online network and its last layers are both called."""

EXTRACTORS = {"MlpPolicy": "FlattenExtractor", "CnnPolicy": "NatureCNN", "MultiInputPolicy": "CombinedExtractor"}
"""The policies that can be read, each with the extractor it has unless told otherwise."""

WEIGHTS = re.compile(r"(q_net|quantile_net)\.(features_extractor\..+|(q_net|quantile_net)\.\d+\.(weight|bias))")
"""Names of what the online network of SB3 consists of."""

MAX_LAYERS, MAX_NUMBER = 100, 2**16
"""Convolutions, and the numbers that describe one: more than any agent has."""


@dataclass(frozen=True)
class Checkpoint:
    """
    A trained agent as data.

    :param algorithm: ``"DQN"`` or ``"QRDQN"``
    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"`` or ``"MultiInputPolicy"``
    :param observation_space: what the agent sees, after the environment's wrappers
    :param action_space: its actions
    :param net_arch: hidden layers behind the features extractor
    :param activation: name of their activation function in ``torch.nn``
    :param features_extractor: ``"FlattenExtractor"``, ``"NatureCNN"``, ``"CombinedExtractor"`` or ``"ConvExtractor"``
    :param normalize_images: whether images are divided by 255
    :param n_quantiles: quantiles per action; None for DQN
    :param weights: the online network's parameters, named as in ``model.q_net`` or ``model.quantile_net``
    :param strides: of the convolutions, by their names in ``weights`` and in their order: what weights do not tell
    :param sb3_version: which version of Stable-Baselines3 wrote the file; None where it does not say
    :param sha256: checksum of the file
    :param timesteps: how long the agent was trained; None where the file does not say
    """

    algorithm: str
    policy: str
    observation_space: spaces.Space
    action_space: spaces.Discrete
    net_arch: tuple[int, ...]
    activation: str
    features_extractor: str
    normalize_images: bool
    n_quantiles: int | None
    weights: dict[str, th.Tensor]
    strides: dict[str, int]
    sb3_version: str | None
    sha256: str
    timesteps: int | None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """
    Read a trained DQN or QR-DQN; nothing in the file is unpickled or executed.

    :param path: a zip file written by ``model.save``, by SB3 1.0 or later
    :return: what is in it, checked: the weights are finite and fit the spaces
    :raises NeedsCodeError: if the file needs code of its own
    :raises CheckpointError: if it is damaged or of another algorithm
    """
    path = Path(path)
    with reading(path), open_archive(path) as archive:
        data = read_data(archive)
        try:
            return _read(archive, data)
        except NeedsCodeError as error:
            if (reason := _refused_anyway(archive, data)) is not None:
                raise ValueError(f"{error}, and {reason}") from error
            raise NeedsCodeError(error, "; ", *TRUST) from error


def _read(archive: Archive, data: Mapping[str, Any]) -> Checkpoint:
    algorithm, policy = _recognize(data)
    network = NETWORKS[algorithm]
    kwargs = _policy_kwargs(data)
    observation_space = _space(data, "observation_space")
    action_space = _checked("action_space", _space(data, "action_space"), spaces.Discrete)
    normalize_images = _number("normalize_images", kwargs.get("normalize_images", True), bool)
    extractor = _features_extractor(kwargs, policy, normalize_images)
    torsos = image_torsos(observation_space, extractor)
    n_quantiles = _number("n_quantiles", kwargs.get("n_quantiles", 200), int) if algorithm == "QRDQN" else None
    weights = online_weights(read_weights(archive), network)
    outputs = int(action_space.n) * (1 if n_quantiles is None else n_quantiles)
    check_shapes(weights, network, observation_space, torsos, outputs)
    return Checkpoint(
        algorithm=algorithm,
        policy=policy,
        observation_space=observation_space,
        action_space=action_space,
        net_arch=hidden_sizes(weights, network),
        activation=_activation(kwargs),
        features_extractor=extractor.name,
        normalize_images=normalize_images,
        n_quantiles=n_quantiles,
        weights=weights,
        strides={name: layer.stride[0] for torso in torsos.values() for name, layer in torso.convolutions.items()},
        sb3_version=read_version(archive),
        sha256=archive.sha256(),
        timesteps=_timesteps(data),
    )


def _refused_anyway(archive: Archive, data: Mapping[str, Any]) -> str | None:
    """Return why an agent could not be converted even if the code in its file ran; None if it might."""
    try:
        kwargs = _policy_kwargs(data)
        _features_extractor(kwargs, "MlpPolicy", normalize_images=True)
        if (activation := _activation(kwargs)) != "ReLU":
            return f"activation_fn={activation} cannot be converted"
    except ValueError as error:
        return str(error)
    try:
        names = list(read_weights(archive))
    except ValueError:
        return None
    own = [name for name in names if name.startswith(tuple(f"{network}." for network in NETWORKS.values()))]
    if not own:
        return f"has none of the networks {' and '.join(NETWORKS.values())} of a DQN and a QRDQN"
    unknown = next((name for name in own if not WEIGHTS.fullmatch(name)), None)
    return None if unknown is None else f"has a network of its own, with a weight {unknown!r}"


def _recognize(data: Mapping[str, Any]) -> tuple[str, str]:
    saved = _attribute(data, "policy_class")
    policy_class = saved if isinstance(saved, Name) else None
    algorithm = algorithm_of(policy_class, data)
    if policy_class is not None and policy_class.module.startswith("sb3_spiking.policies."):
        raise ValueError(
            f"is a {algorithm} agent that spikes already, with the policy {saved.name}: there is nothing to convert; "
            "sb3-spiking evaluate and watch play it as it is"
        )
    if algorithm is not None and algorithm not in NETWORKS:
        raise ValueError(f"is a {algorithm} agent; only DQN and QRDQN can be converted")
    if algorithm is not None and policy_class is not None and is_known_policy(policy_class):
        policy = "MlpPolicy" if policy_class.name == f"{algorithm}Policy" else policy_class.name
        if policy in EXTRACTORS:
            return algorithm, policy
    raise NeedsCodeError(f"has a policy class {_shown(saved)}, which is not SB3's")


def _policy_kwargs(data: Mapping[str, Any]) -> dict[str, Any]:
    kwargs: dict[str, Any] = _checked("policy_kwargs", _attribute(data, "policy_kwargs"), dict)
    return kwargs


def _timesteps(data: Mapping[str, Any]) -> int | None:
    saved = _attribute(data, "num_timesteps")
    return None if saved is None else int(_number("num_timesteps", saved, int, float))


def _attribute(data: Mapping[str, Any], key: str) -> Any:
    """Return one of the agent's attributes, with `Name` and `Made` for what unpickling would import and make."""
    with reading(key):
        pickle = read_pickle(data.get(key))
        if pickle is None:
            return data.get(key)
        if pickle.problem:
            raise ValueError(pickle.problem)
        return pickle.value


def _space(data: Mapping[str, Any], key: str) -> spaces.Space:
    saved = _attribute(data, key)
    with reading(key):
        return read_space(saved)


def _features_extractor(kwargs: Mapping[str, Any], policy: str, normalize_images: bool) -> Extractor:
    own = _checked("features_extractor_kwargs", kwargs.get("features_extractor_kwargs") or {}, dict)
    normalized_image = _number("normalized_image", own.get("normalized_image", False), bool)
    match kwargs.get("features_extractor_class"):
        case Name("sb3_spiking.policies.observations", "ConvExtractor"):
            return Extractor("ConvExtractor", normalized_image, _conv_arch(own.get("conv_arch")))
        case None:
            name = EXTRACTORS[policy]
        case Name("stable_baselines3.common.torch_layers", name) if name in EXTRACTORS.values():
            pass
        case saved:
            raise ValueError(
                f"has a features extractor {_shown(saved)}; "
                "only those of SB3 and sb3_spiking.policies.ConvExtractor can be converted"
            )
    # Without normalize_images SB3 tells its own extractors that any three dimensions are an image.
    return Extractor(name, normalized_image or not normalize_images, "nature")


def _conv_arch(saved: Any) -> ConvArch:
    """Return which convolutions, with their form checked: others could take forever to make, or to show in an error."""
    if saved is None or isinstance(saved, str):
        return saved
    layers = saved if isinstance(saved, list | tuple) else ()
    if 0 < len(layers) <= MAX_LAYERS and all(isinstance(layer, list | tuple) and len(layer) == 3 for layer in layers):
        numbers: list[list[Any]] = [[pickled_number(number) for number in layer] for layer in layers]
        if all(type(number) is int and abs(number) < MAX_NUMBER for layer in numbers for number in layer):
            return numbers
    raise ValueError("conv_arch is neither a name nor a list of convolutions [channels, kernel size, stride]")


def _activation(kwargs: Mapping[str, Any]) -> str:
    match kwargs.get("activation_fn", Name("torch.nn.modules.activation", "ReLU")):
        case Name("torch.nn.modules.activation", name):
            return name
        case saved:
            raise ValueError(f"has an activation function {_shown(saved)}; only those of torch.nn can be converted")


def _shown(saved: Any) -> str:
    return str(saved) if isinstance(saved, Name) else "of its own"


def _checked(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{name} is no {kind.__name__}")
    return value


def _number(name: str, value: Any, *kinds: type) -> Any:
    """Return a number, Python's or NumPy's; no subclasses: JSON's true would be an int."""
    number: Any = pickled_number(value)
    if type(number) not in kinds or not math.isfinite(number):
        raise ValueError(f"{name} is no {kinds[0].__name__}")
    return number
