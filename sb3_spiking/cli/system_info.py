"""Information for bug reports: versions, devices, threads, kernels, and the registered policies."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch as th

from sb3_spiking.policies.presets import NAMES
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.snn.execution.backends import gpu_problem
from sb3_spiking.snn.execution.choose import Way, choose_neurons
from sb3_spiking.snn.execution.costs import read
from sb3_spiking.snn.neurons import CubaLif
from sb3_spiking.snn.precisions import has_bfloat16
from sb3_spiking.snn.surrogates import Rect
from sb3_spiking.versions import versions


@dataclass(frozen=True)
class KernelInfo:
    """
    State of the fused kernels for the CPU.

    :param fused: whether PopSAN's neurons run in them, or else in SpikingJelly's own nodes
    :param problem: reason of a failed import; None without one
    :param cache: folder of the compiled kernels, with ``~`` for the user's; None if no folder can be written
    :param writable: whether the folder can be written, so that kernels are compiled only once
    :param compiled: whether the folder holds compiled kernels
    :param largest_rate: firing rate up to which products skip silent inputs (256 observations, five steps, 256
        neurons), from the costs measured on this machine; None if none were measured
    """

    fused: bool
    problem: str | None
    cache: str | None
    writable: bool
    compiled: bool
    largest_rate: float | None = None


@dataclass(frozen=True)
class SystemInfo:
    """
    Information about this process and its machine.

    :param platform: operating system
    :param python: version of the interpreter
    :param packages: version of each package; None if it is not installed
    :param processors: number of processors
    :param threads: number of threads of torch
    :param omp_num_threads: environment variable ``OMP_NUM_THREADS``; None if it is not set
    :param bfloat16: whether the processor has instructions for bfloat16; None if torch cannot tell
    :param gpus: names of the GPUs
    :param gpu_problem: reason why GPUs run SpikingJelly's own nodes; None if they run fused kernels, or without a GPU
    :param kernels: state of the fused kernels for the CPU
    :param policies: names of the spiking policies of each algorithm
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
    """Collect the information; with a GPU, a kernel is compiled as a trial."""
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
    fused = choose_neurons(CubaLif().build(Rect()), th.zeros(1)).way is Way.NEURONS
    try:
        from sb3_spiking.snn.execution import numba_loops
        from sb3_spiking.snn.execution.cost_measurement import machine
    except ImportError as error:  # e.g. numba built for another NumPy
        return KernelInfo(False, " ".join(str(error).split()), None, False, False)
    folder = numba_loops.cache_folder()
    if folder is None:
        return KernelInfo(fused, None, None, False, False)
    home, shown = str(Path.home()), str(folder)
    shown = shown.replace(home, "~", 1) if shown.startswith(home) else shown
    known = read(folder, machine())
    rate = None if known is None else known.largest_density(5 * 256, 256)
    return KernelInfo(fused, None, shown, os.access(folder, os.W_OK), any(folder.glob("numba_loops.*.nbi")), rate)
