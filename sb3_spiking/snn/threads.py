"""
Notice that small networks train faster in one thread.

The number of torch's threads belongs to the whole process, so the user sets it. After each operation all the threads
wait for the last one. On a busy machine that takes longer than a small layer itself.
"""

import os
from weakref import WeakSet

import torch as th
from torch import nn

from sb3_spiking.notices import warn_once

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")
"""Environment variables that set the number of threads."""

_ASKED: WeakSet[nn.Module] = WeakSet()
"""Networks that were checked, since each gradient step asks again."""

LARGE = 2**19
"""Weights of a fully connected layer, about 700 x 700, from which more threads may help."""


def notice_threads(networks: nn.Module) -> None:
    """
    Warn, once in a process, that these networks train faster in one thread, unless the user has set the number.

    :param networks: all networks of the training
    """
    threads = th.get_num_threads()
    if threads == 1 or networks in _ASKED:
        return
    _ASKED.add(networks)
    if _is_default(threads) and _are_small_on_the_cpu(networks):
        warn_once(
            f"torch computes in {threads} threads, one for each core. These networks are small, so the threads mostly "
            "wait for each other, and on a busy machine for all that runs there: a gradient step can take ten times as "
            "long. Before training, write: import torch; torch.set_num_threads(1). Or set OMP_NUM_THREADS=1 in the "
            "environment. To keep this number, set OMP_NUM_THREADS to it."
        )


def _is_default(threads: int) -> bool:
    """Tell whether the number is torch's default: one for each core, or for every second one."""
    cores = _cores()
    return not any(name in os.environ for name in VARIABLES) and threads in (cores, cores // 2)


def _cores() -> int:
    """Return the number of (logical) cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _are_small_on_the_cpu(networks: nn.Module) -> bool:
    """Tell whether all the layers are fully connected and small; convolutions may gain from several threads."""
    if any(isinstance(module, nn.modules.conv._ConvNd) for module in networks.modules()):
        return False
    return all(p.device.type == "cpu" and p.numel() <= LARGE for p in networks.parameters())
