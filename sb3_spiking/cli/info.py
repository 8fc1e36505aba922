"""Print versions, devices, threads, kernels and policies, for a bug report."""

import argparse
import dataclasses
import json

from sb3_spiking.cli.console import listing, out
from sb3_spiking.cli.system_info import KernelInfo, SystemInfo, system_info


def run(args: argparse.Namespace) -> None:
    """
    Print the information.

    :param args: parsed options
    """
    info = system_info()
    if args.json:
        out.print(json.dumps(dataclasses.asdict(info), indent=2), markup=False)
    else:
        _show(info)


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
    ]


def _gpu_rows(info: SystemInfo) -> list[tuple[str, str]]:
    if not info.gpus:
        return []
    runs_in = "fused kernels" if info.gpu_problem is None else f"SpikingJelly's nodes: {info.gpu_problem}"
    return [("on GPUs", runs_in)]
