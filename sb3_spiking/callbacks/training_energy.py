"""
Callback that measures the energy of a training run: processor time, and the GPU's energy counter.

Processors have no energy counter for a single process, so their joules are their time multiplied by a power that you
name. GPUs since Volta count the energy of the whole board (NVML).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.arguments import positive_float
from sb3_spiking.extras import install_hint


@dataclass(frozen=True)
class TrainingEnergy:
    """
    Time and energy of a training run, over all the processes that trained together.

    :param steps: environment steps
    :param cpu_seconds: processor time of all the threads of these processes, without environments' subprocesses
    :param cpu_joules: energy of the processors; None if no power was named
    :param gpu_joules: energy of the GPUs; None if there is no counter
    """

    steps: int
    cpu_seconds: float
    cpu_joules: float | None
    gpu_joules: float | None

    @property
    def joules(self) -> float | None:
        """Energy of processors and GPUs; None if neither was counted."""
        counted = [joules for joules in (self.cpu_joules, self.gpu_joules) if joules is not None]
        return sum(counted) if counted else None

    @property
    def steps_per_joule(self) -> float | None:
        """Environment steps per joule; None if no energy was counted."""
        return self.steps / self.joules if self.joules else None

    def __str__(self) -> str:
        parts = [f"{self.steps} steps", f"{self.cpu_seconds:.1f} s of CPU"]
        if self.cpu_joules is not None:
            parts.append(f"{self.cpu_joules:.4g} J of CPU")
        if self.gpu_joules is not None:
            parts.append(f"{self.gpu_joules:.4g} J of GPU")
        if self.steps_per_joule is not None:
            parts.append(f"{self.steps_per_joule:.3g} steps per joule")
        return ", ".join(parts)


class TrainingEnergyCallback(BaseCallback):
    """
    Measure the energy of a training run; print it at the end and log it as ``energy/...``.

    Under ``torchrun`` give it to ``learn`` on each rank, behind ``DataParallelCallback``: it sums over the ranks.

    :param cpu_watts: power of a busy core in watts, > 0, for example the processor's thermal design power divided by
        the number of its cores; None measures time alone
    :param verbose: 0 or 1; 1 prints the result
    :raises ValueError: if the power is not positive
    """

    result: TrainingEnergy

    def __init__(self, cpu_watts: float | None = None, verbose: int = 1) -> None:
        super().__init__(verbose)
        self.cpu_watts = None if cpu_watts is None else positive_float("cpu_watts", cpu_watts)

    def _on_training_start(self) -> None:
        self._steps = self.model.num_timesteps
        self._gpu = _gpu_counter(self.model.device)
        self._start = self._counts()

    def _counts(self) -> tuple[float, float]:
        return time.process_time(), 0.0 if self._gpu is None else self._gpu()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        seconds, gpu = (now - before for now, before in zip(self._counts(), self._start, strict=True))
        seconds, gpu = _over_all_ranks([seconds, gpu])
        self.result = TrainingEnergy(
            steps=self.model.num_timesteps - self._steps,
            cpu_seconds=seconds,
            cpu_joules=None if self.cpu_watts is None else self.cpu_watts * seconds,
            gpu_joules=None if self._gpu is None else gpu,
        )
        self.logger.record("energy/cpu_seconds", seconds)
        if self.result.joules is not None:
            self.logger.record("energy/joules", self.result.joules)
        self.logger.dump(self.model.num_timesteps)
        if self.verbose and (not dist.is_initialized() or dist.get_rank() == 0):
            print(f"Training took {self.result}.")


def _over_all_ranks(counts: Sequence[float]) -> list[float]:
    """Sum the counts over the ranks."""
    if not dist.is_initialized():
        return list(counts)
    from sb3_spiking.distributed import group

    return [sum(column) for column in zip(*group.all_gather_object(list(counts)), strict=True)]


def _gpu_counter(device: th.device) -> Any:
    """Return a function that reads the GPU's energy counter in joules; None without a GPU or NVML."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        print(f"The GPU's energy is not counted without NVML; {install_hint('energy')}")
        return None
    pynvml.nvmlInit()
    uuid = str(th.cuda.get_device_properties(device).uuid)  # CUDA_VISIBLE_DEVICES renumbers the GPUs
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000.0
