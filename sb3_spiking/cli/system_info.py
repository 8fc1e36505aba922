"""What a bug report needs to know: versions, devices, threads, kernels, and which policies are registered where."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch as th

from sb3_spiking.policies.presets import NAMES
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.snn.kernels import gpu_problem
from sb3_spiking.snn.neurons import CubaLif, fused_equations
from sb3_spiking.snn.precisions import has_bfloat16
from sb3_spiking.snn.surrogates import Rect
from sb3_spiking.versions import versions


@dataclass(frozen=True)
class KernelInfo:
    """
    The fused kernels for the CPU.

    :param fused: whether a layer of PopSAN's neurons would run in them, or else in SpikingJelly's own nodes
    :param problem: why they cannot be imported; None if they can
    :param cache: folder of the compiled kernels, with ``~`` for the user's; None where there is no place for one
    :param writable: whether that folder can be written, so that they are compiled once only
    :param compiled: whether it holds compiled kernels
    """

    fused: bool
    problem: str | None
    cache: str | None
    writable: bool
    compiled: bool


@dataclass(frozen=True)
class SystemInfo:
    """
    Everything at once; ``dataclasses.asdict`` makes JSON of it.

    :param platform: operating system
    :param python: version of the interpreter
    :param packages: version of each package, None where it is not installed
    :param processors: number of processors
    :param threads: threads that torch uses
    :param omp_num_threads: the variable ``OMP_NUM_THREADS``, None if it is not set
    :param bfloat16: whether the processor multiplies in bfloat16, or else slowly by other instructions; None where
        torch cannot say
    :param gpus: names of the GPUs that torch sees
    :param gpu_problem: why SpikingJelly's own nodes run on them; None if fused kernels do, or if there is no GPU
    :param kernels: the fused kernels for the CPU
    :param policies: names of the spiking policies that each algorithm knows
    """

    platform: str
    python: str
    packages: dict[str, str | None]
    processors: int | None
    threads: int
    omp_num_threads: str | None
    bfloat16: bool | None
    gpus: list[str]
    gpu_problem: str | None
    kernels: KernelInfo
    policies: dict[str, list[str]]


def system_info() -> SystemInfo:
    """Look at this process and its machine; only where there is a GPU, a kernel is compiled to try it."""
    return SystemInfo(
        platform=platform.platform(),
        python=platform.python_version(),
        packages=versions(),
        processors=os.cpu_count(),
        threads=th.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        bfloat16=has_bfloat16(),
        gpus=[th.cuda.get_device_name(index) for index in range(th.cuda.device_count())],
        gpu_problem=gpu_problem() if th.cuda.is_available() else None,
        kernels=_kernels(),
        policies={cls.__name__: [name for name in NAMES if name in cls.policy_aliases] for cls in ALGORITHMS},
    )


def _kernels() -> KernelInfo:
    fused = fused_equations(CubaLif().build(Rect()), th.zeros(1)) is not None
    try:
        from sb3_spiking.snn.kernels import cpu
    except ImportError as error:  # a numba that knows another numpy only, for instance
        return KernelInfo(False, " ".join(str(error).split()), None, False, False)
    folder = cpu.forward_loop.stats.cache_path
    if folder is None:
        return KernelInfo(fused, None, None, False, False)
    path = Path(folder)
    home = str(Path.home())
    shown = folder.replace(home, "~", 1) if folder.startswith(home) else folder
    return KernelInfo(fused, None, shown, os.access(path, os.W_OK), any(path.glob("cpu.*.nbi")))
