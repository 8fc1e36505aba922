"""
Saving converted policies: a zip file of JSON and arrays, without a pickle.

``agent.json`` says what the network is; the members ``<name>.npy`` are its arrays, which ``numpy.load`` of the file
shows as well.
"""

import dataclasses
import io
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

from sb3_spiking.conversion.codings import CODINGS
from sb3_spiking.conversion.dense import Layer
from sb3_spiking.conversion.network import ConvertedNetwork
from sb3_spiking.conversion.reading.archive import MAX_DATA, MAX_WEIGHTS, open_archive, read_member, reading
from sb3_spiking.snn.arguments import choice, from_kwargs

FORMAT = "sb3-spiking converted policy, version 1"
DESCRIPTION = "agent.json"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Converted:
    """
    What is saved of a converted policy.

    :param network: the spiking network
    :param observation_space: the agent's
    :param action_space: the agent's
    :param normalize_images: whether images are divided by 255
    :param epsilon: probability of a random action
    :param origin: notes on where it comes from: anything that JSON can hold
    """

    network: ConvertedNetwork
    observation_space: spaces.Space
    action_space: spaces.Discrete
    normalize_images: bool
    epsilon: float
    origin: Mapping[str, Any]


def write_converted(path: str | Path, converted: Converted) -> None:
    """
    Save a converted policy; a file that is there already is replaced once the new one is complete.

    :param path: where, ``.zip`` by custom
    :param converted: what to save
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
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        # Not compressed, as numpy's and SB3's: weights hardly are, and readers refuse what unpacks to too much.
        with zipfile.ZipFile(partial, "w") as archive:
            archive.writestr(DESCRIPTION, json.dumps(description, indent=2))
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_converted(path: str | Path) -> Converted:
    """
    Read a converted policy; the file is data, nothing in it is unpickled or executed.

    :param path: a file written by `write_converted`
    :return: what is in it
    :raises CheckpointError: if the file is damaged or another one
    """
    path = Path(path)
    with reading(path), open_archive(path) as (archive, _):
        description = json.loads(read_member(archive, DESCRIPTION, MAX_DATA))
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ValueError(f"is no {FORMAT}; convert the DQN again")
        return Converted(
            network=_network(description, archive),
            observation_space=_space_from_json(description["observation_space"], "observation_space", archive),
            action_space=spaces.Discrete(description["actions"]),
            normalize_images=bool(description["normalize_images"]),
            epsilon=float(description["epsilon"]),
            origin=dict(description["origin"]),
        )


def is_converted(path: str | Path) -> bool:
    """
    Tell whether a file is a converted policy, by its members.

    :param path: any file
    """
    try:
        with open_archive(Path(path)) as (archive, _):
            return DESCRIPTION in archive.namelist()
    except ValueError:
        return False


def _network(description: Mapping[str, Any], archive: zipfile.ZipFile) -> ConvertedNetwork:
    constants = dict(description["coding"])
    coding = from_kwargs("coding", choice("coding", constants.pop("name"), CODINGS), constants)
    layers = [
        _layer_from_json(entry, *(_read_weights(archive, f"layers.{index}.{kind}") for kind in ("weight", "bias")))
        for index, entry in enumerate(description["layers"])
    ]
    scale = _read_weights(archive, "output_scale")
    if scale.shape != (1,):
        raise ValueError(f"output_scale has shape {scale.shape}, not (1,)")
    network = ConvertedNetwork(layers, th.from_numpy(scale), coding)
    return network.requires_grad_(False).eval()


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, nn.Conv2d):
        return {"kind": "convolution", "stride": list(layer.stride)}
    return {"kind": "linear"}


def _layer_from_json(entry: Mapping[str, Any], weight: np.ndarray, bias: np.ndarray) -> Layer:
    outputs, inputs, *kernel = weight.shape
    layer: Layer
    if entry["kind"] == "convolution":
        rows, columns = entry["stride"]
        layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, tuple(kernel), (int(rows), int(columns)))
    else:
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    layer.load_state_dict({"weight": th.from_numpy(weight), "bias": th.from_numpy(bias)})
    return layer


def _space_to_json(space: spaces.Space, name: str, arrays: Arrays) -> dict[str, Any]:
    """Describe a space; bounds go to the arrays."""
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


def _space_from_json(entry: Mapping[str, Any], name: str, archive: zipfile.ZipFile) -> spaces.Space:
    match entry["kind"]:
        case "Dict":
            keys = [part["key"] for part in entry["entries"]]
            parts = [_space_from_json(part, f"{name}.{index}", archive) for index, part in enumerate(entry["entries"])]
            return spaces.Dict(list(zip(keys, parts, strict=True)))
        case "Box":
            low, high = _read_array(archive, f"{name}.low"), _read_array(archive, f"{name}.high")
            return spaces.Box(low, high, dtype=low.dtype)
        case "MultiDiscrete":
            return spaces.MultiDiscrete(_read_array(archive, f"{name}.nvec"))
        case "Discrete":
            return spaces.Discrete(entry["n"], start=entry["start"])
        case "MultiBinary":
            return spaces.MultiBinary(entry["n"])
    raise ValueError(f"observation space {entry['kind']!r} is unknown")


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    content = read_member(archive, f"{name}.npy", MAX_WEIGHTS)
    array: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds no numbers")
    return array


def _read_weights(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    array = _read_array(archive, name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    return array
