"""The ranks that train together: PyTorch's default process group, and what they tell each other."""

import atexit
import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch as th
import torch.distributed as dist

RENDEZVOUS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_T = TypeVar("_T")


GRACE = 2.0
"""Seconds beyond the time-out in which torch may still say itself why the ranks did not meet."""


class RankLostError(RuntimeError):
    """Another rank cannot be reached, has ended, or said nothing for as long as the time-out."""


def join(timeout: float) -> None:
    """
    Join the other ranks: NCCL for tensors on GPUs, one GPU for each rank of a machine, gloo for those on the CPU.

    A process group that is there already is used as it is.

    :param timeout: seconds without an answer after which the other ranks count as lost, > 0
    :raises ValueError: if the time-out is not positive, or who the other ranks are is not said or cannot be
    :raises RankLostError: if they cannot be reached within the time-out
    """
    if not 0.0 < timeout < math.inf:
        raise ValueError(f"timeout={timeout!r} must be a positive number of seconds")
    if dist.is_initialized():
        return
    place = _place()
    backend = "gloo"
    if th.cuda.is_available():
        _choose_gpu(place["LOCAL_RANK"])
        backend = "cpu:gloo,cuda:nccl"
    _meet(backend, timeout)
    atexit.register(_leave)


def _place() -> dict[str, int]:
    """Return the numbers that torchrun gives a process, checked."""
    missing = [name for name in RENDEZVOUS if name not in os.environ]
    if missing:
        raise ValueError(
            f"nobody has said who the other ranks are ({', '.join(missing)} not set): "
            "start the script with torchrun --nproc-per-node 2 script.py"
        )
    numbers = {}
    for name in RENDEZVOUS:
        if name == "MASTER_ADDR":
            continue
        if not os.environ[name].isdecimal():
            raise ValueError(f"{name}={os.environ[name]!r} must be an integer >= 0; torchrun sets it by itself")
        numbers[name] = int(os.environ[name])
    if numbers["RANK"] >= numbers["WORLD_SIZE"]:
        raise ValueError(
            f"RANK={numbers['RANK']} must be less than WORLD_SIZE={numbers['WORLD_SIZE']}; torchrun sets both by itself"
        )
    return numbers


def _choose_gpu(local_rank: int) -> None:
    gpus = th.cuda.device_count()
    if local_rank >= gpus:
        raise ValueError(
            f"LOCAL_RANK={local_rank}: this machine has {gpus} GPU{'s' * (gpus > 1)}, and each rank takes one of its "
            f"own; start it with --nproc-per-node {gpus}, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on CPUs"
        )
    th.cuda.set_device(local_rank)


def _meet(backend: str, timeout: float) -> None:
    """Make the process group; who listens at the address and never answers would hold up torch for minutes."""
    met: Future[None] = Future()

    def meet() -> None:
        try:
            met.set_result(dist.init_process_group(backend, timeout=timedelta(seconds=timeout)))
        except Exception as error:
            met.set_exception(error)

    threading.Thread(target=meet, daemon=True).start()
    try:
        met.result(timeout + GRACE)
    except (TimeoutError, RuntimeError, ValueError) as error:
        reason = _first_line(error) or "nobody there has answered as a rank does"
        raise RankLostError(
            f"cannot join at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within {timeout:g} s: {reason}"
        ) from None


def _first_line(error: BaseException) -> str:
    """Return what an error says, without the places in C++ where it arose."""
    return next(iter(str(error).splitlines()), "").strip()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank()


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def answered() -> Iterator[None]:
    """
    Say in one line what it means when others do not answer.

    :raises RankLostError: if they do not
    """
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            f"rank {dist.get_rank()} waited in vain: another rank has ended (its own message says why) or was silent "
            f"for longer than the time-out ({_first_line(error)})"
        ) from None


def gathered(own: _T) -> list[_T]:
    """
    Return what each rank has to say.

    :param own: what this one says; anything that can be pickled
    :return: in the order of the ranks
    """
    everyone: list[Any] = [None] * size()
    with answered():
        dist.all_gather_object(everyone, own)
    return everyone


def from_first(own: _T) -> _T:
    """
    Return what the first rank says.

    :param own: what this one would say
    """
    said = [own]
    with answered():
        dist.broadcast_object_list(said, src=0)
    return said[0]


def copy_first(tensors: list[th.Tensor]) -> None:
    """
    Overwrite tensors by those of the first rank.

    :param tensors: the same number and shapes on each rank
    """
    with answered():
        for tensor in tensors:
            dense = tensor.detach().contiguous()
            dist.broadcast(dense, src=0)
            if dense.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(dense)


def stack(own: th.Tensor) -> list[th.Tensor]:
    """
    Return the tensors of all the ranks.

    :param own: of the same shape on each
    :return: in the order of the ranks
    """
    everyone = [th.empty_like(own) for _ in range(size())]
    with answered():
        dist.all_gather(everyone, own.contiguous())
    return everyone


def add(tensor: th.Tensor) -> th.Tensor:
    """
    Sum a tensor over the ranks, in place.

    :param tensor: contiguous, of the same shape on each
    :return: the same tensor
    """
    with answered():
        dist.all_reduce(tensor)
    return tensor
