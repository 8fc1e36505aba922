"""
File format of converted policies: a zip file of JSON and arrays, without a pickle.

``agent.json`` describes the network; the members ``<name>.npy`` are its arrays, and ``numpy.load`` reads them too.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_spiking.arguments import choice, from_kwargs
from sb3_spiking.conversion.codings import CODINGS
from sb3_spiking.conversion.dense import Layer
from sb3_spiking.conversion.network import ConvertedNetwork
from sb3_spiking.files import replacing
from sb3_spiking.reading.archive import MAX_DATA, MAX_WEIGHTS, reading
from sb3_spiking.reading.fields import Record, read_json
from sb3_spiking.reading.saved_arrays import MAX_DIMENSIONS, read_npy
from sb3_spiking.reading.saved_spaces import MAX_ENTRIES, MAX_FEATURES, check_size
from sb3_spiking.reading.zip_files import Archive, open_archive

MAX_ACTIONS, MAX_LAYERS, MAX_STRIDE = 2**16, 100, 2**16
"""Limits beyond those of any DQN."""

FORMAT = "sb3-spiking converted policy, version 1"
DESCRIPTION = "agent.json"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Converted:
    """
    Content of a converted policy's file.

    :param network: the spiking network
    :param observation_space: observation space of the agent
    :param action_space: action space of the agent
    :param normalize_images: whether images are divided by 255
    :param epsilon: probability of a random action
    :param origin: notes on the origin: anything that JSON can hold
    """

    network: ConvertedNetwork
    observation_space: spaces.Space
    action_space: spaces.Discrete
    normalize_images: bool
    epsilon: float
    origin: Mapping[str, Any]


def write_converted(path: str | Path, converted: Converted) -> None:
    """
    Save a converted policy; an existing file is replaced once the new one is complete.

    :param path: path of the file, ``.zip`` by custom
    :param converted: content of the file
    """
    network = converted.network
    arrays: Arrays = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    description = {
        "format": FORMAT,
        "coding": {"name": network.coding.name, **dataclasses.asdict(network.coding)},
        "layers": [_layer_to_json(layer) for layer in network.layers],
        "observation_space": _space_to_json(converted.observation_space, "observation_space", arrays),
        "actions": int(converted.action_space.n),
        "normalize_images": converted.normalize_images,
        "epsilon": converted.epsilon,
        "origin": dict(converted.origin),
    }
    with replacing(Path(path)) as (partial,), zipfile.ZipFile(partial, "w") as archive:
        # Not compressed, as numpy's and SB3's: weights hardly compress, and readers limit the ratio.
        archive.writestr(DESCRIPTION, json.dumps(description, indent=2))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)


def read_converted(path: str | Path) -> Converted:
    """
    Read a converted policy; the file is data, nothing in it is unpickled or executed.

    :param path: file written by `write_converted`
    :return: content of the file
    :raises CheckpointError: if the file is damaged or of another format
    """
    path = Path(path)
    with reading(path), open_archive(path) as archive:
        with reading(DESCRIPTION):
            content = Record(read_json(archive.read(DESCRIPTION, MAX_DATA)), "")
        if content.get("format") != FORMAT:
            raise ValueError(f"is no {FORMAT}; convert the DQN again")
        space = _space_from_json(content.record("observation_space"), "observation_space", archive)
        return Converted(
            network=_network(content, archive),
            observation_space=check_size(space),
            action_space=spaces.Discrete(content.whole("actions", 1, MAX_ACTIONS)),
            normalize_images=content.flag("normalize_images"),
            epsilon=content.number("epsilon", 0.0, 1.0),
            origin=content.record("origin").fields,
        )


def is_converted(path: str | Path) -> bool:
    """
    Return whether a file is a converted policy, by its members.

    :param path: any file
    """
    try:
        with open_archive(Path(path)) as archive:
            return DESCRIPTION in archive.members
    except ValueError:
        return False


def _network(content: Record, archive: Archive) -> ConvertedNetwork:
    constants = dict(content.record("coding").fields)
    coding = from_kwargs("coding", choice("coding", constants.pop("name", None), CODINGS), constants)
    layers = [
        _layer_from_json(entry, *(_read_weights(archive, f"layers.{index}.{kind}") for kind in ("weight", "bias")))
        for index, entry in enumerate(content.records("layers", 1, MAX_LAYERS))
    ]
    scale = _read_weights(archive, "output_scale")
    if scale.shape != (1,):
        raise ValueError(f"output_scale has shape {tuple(scale.shape)}, not (1,)")
    network = ConvertedNetwork(layers, scale, coding)
    return network.requires_grad_(False).eval()


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, nn.Conv2d):
        return {"kind": "convolution", "stride": list(layer.stride)}
    return {"kind": "linear"}


def _layer_from_json(entry: Record, weight: th.Tensor, bias: th.Tensor) -> Layer:
    kind = entry.text("kind")
    dimensions = choice(f"{entry.name}.kind", kind, {"convolution": 4, "linear": 2})
    if weight.dim() != dimensions:
        raise ValueError(f"the weight of {entry.name}, kind {kind}, has shape {tuple(weight.shape)}")
    outputs, inputs, *kernel = weight.shape
    layer: Layer
    if kind == "convolution":
        rows, columns = entry.wholes("stride", 2, 1, MAX_STRIDE)
        layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, tuple(kernel), (rows, columns))
    else:
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _space_to_json(space: spaces.Space, name: str, arrays: Arrays) -> dict[str, Any]:
    """Return a space as JSON, and add its bounds to the arrays."""
    match space:
        case spaces.Dict():
            entries = [
                {"key": key, **_space_to_json(entry, f"{name}.{index}", arrays)}
                for index, (key, entry) in enumerate(space.spaces.items())
            ]
            return {"kind": "Dict", "entries": entries}
        case spaces.Box():
            arrays[f"{name}.low"], arrays[f"{name}.high"] = space.low, space.high
            return {"kind": "Box"}
        case spaces.MultiDiscrete():
            arrays[f"{name}.nvec"] = space.nvec
            return {"kind": "MultiDiscrete"}
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiBinary():
            return {"kind": "MultiBinary", "n": np.asarray(space.n).tolist()}
    raise ValueError(f"observations of {type(space).__name__} cannot be saved")


def _space_from_json(entry: Record, name: str, archive: Archive) -> spaces.Space:
    match entry.text("kind"):
        case "Dict":
            parts = entry.records("entries", 1, MAX_ENTRIES)
            named = [
                (part.text("key"), _space_from_json(part, f"{name}.{index}", archive))
                for index, part in enumerate(parts)
            ]
            if len(dict(named)) < len(named) or any(isinstance(part, spaces.Dict) for _, part in named):
                raise ValueError(f"{entry.name} has entries of one name, or a Dict in a Dict")
            return spaces.Dict(named)
        case "Box":
            low, high = _read_array(archive, f"{name}.low"), _read_array(archive, f"{name}.high")
            return spaces.Box(low, high, dtype=low.dtype)
        case "MultiDiscrete":
            return spaces.MultiDiscrete(_read_array(archive, f"{name}.nvec"))
        case "Discrete":
            return spaces.Discrete(entry.whole("n", 1, MAX_FEATURES), start=entry.whole("start", -(2**62), 2**62))
        case "MultiBinary":
            sizes = entry.wholes("n", MAX_DIMENSIONS, 1, MAX_FEATURES) if isinstance(entry.get("n"), list) else None
            return spaces.MultiBinary(sizes or entry.whole("n", 1, MAX_FEATURES))
        case kind:
            raise ValueError(f"observation space {kind!r} is unknown")


def _read_array(archive: Archive, name: str) -> np.ndarray:
    with reading(name):
        return read_npy(archive.read(f"{name}.npy", MAX_WEIGHTS))


def _read_weights(archive: Archive, name: str) -> th.Tensor:
    array = _read_array(archive, name)
    if array.dtype.kind != "f":
        raise ValueError(f"{name} holds {array.dtype} in place of floats")
    weights = th.tensor(array, dtype=th.float32)
    if not th.isfinite(weights).all():
        raise ValueError(f"{name} is not finite")
    return weights
