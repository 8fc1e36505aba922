"""Print versions, devices, threads, kernels and policies, for a bug report; or how the layers of an agent run."""

import argparse
import dataclasses
import json
from pathlib import Path

import torch as th

from sb3_spiking.cli.console import listing, note, out
from sb3_spiking.cli.system_info import KernelInfo, SystemInfo, system_info
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.observations import features_shape
from sb3_spiking.policies.observations import parts_of
from sb3_spiking.reading.archive import CheckpointError, reading
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.layer_sizes import layer_sizes
from sb3_spiking.reading.spiking_model import SpikingModel, read_spaces, read_spiking_model
from sb3_spiking.snn import SpikingNetwork, acting, learning
from sb3_spiking.snn.description import executions
from sb3_spiking.snn.execution.choose import Execution

BATCH = 256
"""Number of observations of a gradient step, those of SB3's TD3 and SAC."""
MAX_VALUES = 2**28
"""Limit of the weights, of the observations and of the spikes of a population: a file may describe any."""


def run(args: argparse.Namespace) -> None:
    """
    Print the information.

    :param args: parsed options
    :raises ValueError: if a file is given that holds no spiking agent
    """
    if args.path is not None:
        _show_executions(args.path, args.json)
        return
    info = system_info()
    if args.json:
        out.print(json.dumps(dataclasses.asdict(info), indent=2), markup=False)
    else:
        _show(info)


def _show_executions(path: Path, as_json: bool) -> None:
    situations = _converted(path) if is_converted(path) else _trained(path)
    if as_json:
        out.print(json.dumps(situations, indent=2), markup=False)
        return
    for situation, layers in situations.items():
        listing(situation, list(layers.items()))


def _trained(path: Path) -> dict[str, dict[str, str]]:
    """Choose for a network like that of the file, which is read as data."""
    model = read_spiking_model(path, inspect_zip(path))
    if model is None:
        raise CheckpointError(f"{path} holds no spiking policy; `sb3-spiking inspect` shows its content")
    if model.foreign:
        names = ", ".join(f"{name}={value!r}" for name, value in model.foreign.items())
        raise CheckpointError(f"{path} names classes of other packages, which are not imported from a file: {names}")
    if model.options is None:
        raise CheckpointError(f"{path}: {model.problem}")
    network = _network_like(path, model)
    one, batch = th.zeros(1, network.size), th.zeros(BATCH, network.size)
    with th.no_grad():
        decision = _at_once_or_not(network, one, acting.reason_against(network, one))
    note(f"for a network like that of {path}, made anew on this machine's CPU: files hold no hooks")
    gradient = _at_once_or_not(network, batch, learning.reason_against(network, batch))
    return {"one observation": decision, f"{BATCH} observations": gradient}


def _at_once_or_not(network: SpikingNetwork, features: th.Tensor, reason: str) -> dict[str, str]:
    """Return how the layers run, if there is a reason against running all of them at once."""
    if not reason:
        return {"all layers": "the whole network at once"}
    return {**_shown(executions(network.describe(), features)), "not at once": reason}


def _network_like(path: Path, model: SpikingModel) -> SpikingNetwork:
    spaces = read_spaces(path)
    if spaces is None or model.options is None:
        raise CheckpointError(f"{path}: its observation space cannot be read as data")
    parts = None
    if model.others.get("features_extractor_class") is None:
        parts = parts_of(spaces[0], normalized_image=model.others.get("normalize_images") is False)
    with reading(path):
        sizes = layer_sizes(parts, model.options, model.layers)
        features = sum(part.size for part in sizes.parts)
        values = max(
            model.spiking_parameters, BATCH * features, BATCH * model.options.time_steps * max(sizes.populations)
        )
        if values > MAX_VALUES:
            raise ValueError(f"describes a network of {values} values; more than {MAX_VALUES} are not made")
        return SpikingNetwork(sizes.parts, sizes.out_dim, sizes.hidden, model.options)


def _converted(path: Path) -> dict[str, dict[str, str]]:
    policy = SpikingQPolicy.load(path)
    features = th.zeros(1, *features_shape(policy.observation_space))
    with th.no_grad():
        return {"one observation": _shown(executions(policy.network.describe(), features))}


def _shown(choices: dict[str, Execution]) -> dict[str, str]:
    return {
        name: choice.way.value + (f": {choice.reason}" if choice.reason else "") for name, choice in choices.items()
    }


def _show(info: SystemInfo) -> None:
    machine = [
        ("platform", info.platform),
        ("python", info.python),
        ("processors", str(info.processors or "unknown")),
        ("bfloat16", {True: "native", False: "slow: no instructions for it", None: "unknown"}[info.bfloat16]),
        ("GPUs", ", ".join(info.gpus) or "none"),
        ("threads of torch", str(info.threads)),
        ("OMP_NUM_THREADS", info.omp_num_threads or "not set"),
    ]
    listing("machine", machine)
    listing("packages", [(name, version or "not installed") for name, version in info.packages.items()])
    listing("kernels", _kernel_rows(info.kernels) + _gpu_rows(info))
    listing("policies", [(name, ", ".join(policies) or "none") for name, policies in info.policies.items()])


def _kernel_rows(kernels: KernelInfo) -> list[tuple[str, str]]:
    if kernels.problem is not None:
        return [("numba", f"cannot be used: {kernels.problem}")]
    if kernels.cache is None:
        cache = "no folder can be written; every process compiles anew (set NUMBA_CACHE_DIR)"
    else:
        cache = f"{kernels.cache} ({'can' if kernels.writable else 'CANNOT'} be written)"
    return [
        ("neurons run in", "fused kernels" if kernels.fused else "SpikingJelly's nodes"),
        ("compiled", "yes" if kernels.compiled else "not yet; the first network takes some seconds"),
        ("cache", cache),
        ("products", products_text(kernels)),
    ]


def products_text(kernels: KernelInfo) -> str:
    """Tell how products are computed."""
    if kernels.largest_rate is None:
        return "costs are not measured yet" if kernels.writable else "by default costs: none can be kept"
    if kernels.largest_rate <= 0.0:
        return "dense, from costs measured on this machine"
    rate = f"{100 * kernels.largest_rate:.0f} %"
    return f"silent inputs are skipped where at most {rate} fire, from costs measured on this machine"


def _gpu_rows(info: SystemInfo) -> list[tuple[str, str]]:
    if not info.gpus:
        return []
    runs_in = "fused kernels" if info.gpu_problem is None else f"SpikingJelly's nodes: {info.gpu_problem}"
    return [("on GPUs", runs_in)]
