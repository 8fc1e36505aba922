"""Trained DQN or QR-DQN, read from its zip file as data."""

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
"""Algorithms that can be read -> name of the online network, and of the stack of layers at its end."""

EXTRACTORS = {"MlpPolicy": "FlattenExtractor", "CnnPolicy": "NatureCNN", "MultiInputPolicy": "CombinedExtractor"}
"""Policies that can be read -> their default features extractor."""

WEIGHTS = re.compile(r"(q_net|quantile_net)\.(features_extractor\..+|(q_net|quantile_net)\.\d+\.(weight|bias))")
"""Names of the weights in an online network of SB3."""

MAX_LAYERS, MAX_NUMBER = 100, 2**16
"""Bounds of a network: its convolutions, and the numbers that describe one of them."""


class SpikesAlreadyError(ValueError):
    """An agent that needs no conversion."""


@dataclass(frozen=True)
class Checkpoint:
    """
    Trained agent as data.

    :param algorithm: ``"DQN"`` or ``"QRDQN"``
    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"`` or ``"MultiInputPolicy"``
    :param observation_space: observation space, behind the environment's wrappers
    :param action_space: action space
    :param net_arch: sizes of the hidden layers behind the features extractor
    :param activation: name of the activation function in ``torch.nn``
    :param features_extractor: ``"FlattenExtractor"``, ``"NatureCNN"``, ``"CombinedExtractor"`` or ``"ConvExtractor"``
    :param normalize_images: whether images are divided by 255
    :param n_quantiles: quantiles per action; None for DQN
    :param weights: parameters of the online network, named as in ``model.q_net`` or ``model.quantile_net``
    :param strides: strides of the convolutions in their order, by their names in ``weights``
    :param sb3_version: version of Stable-Baselines3 that wrote the file; None if it is not noted
    :param sha256: checksum of the file
    :param timesteps: number of training steps; None if it is not noted
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

    :param path: zip file of ``model.save``, SB3 1.0 or later
    :return: the agent, with finite weights that fit its spaces
    :raises NeedsCodeError: if the file can only be read by running code in it
    :raises CheckpointError: if the file is damaged or of another algorithm
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
    """Return the reason why an agent could not be converted even if the code in its file ran, None if it might be."""
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
        raise SpikesAlreadyError(
            f"is a {algorithm} agent that spikes already, with the policy {saved.name}: there is nothing to convert"
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
    """Return one of the agent's attributes, with `Name` and `Construction` in place of pickled objects."""
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
    # With normalize_images=False SB3 takes any three dimensions for an image in its own extractors.
    return Extractor(name, normalized_image or not normalize_images, "nature")


def _conv_arch(saved: Any) -> ConvArch:
    """Return the architecture of the convolutions, checked: others could take forever to make, or to print."""
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
    """Return a number of Python or NumPy, of these types exactly: True would be an int."""
    number: Any = pickled_number(value)
    if type(number) not in kinds or not math.isfinite(number):
        raise ValueError(f"{name} is no {kinds[0].__name__}")
    return number
