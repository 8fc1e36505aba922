"""The ranks that train together: PyTorch's default process group, and what they tell each other."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch as th
import torch.distributed as dist

RENDEZVOUS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_T = TypeVar("_T")


class RankLostError(RuntimeError):
    """Another rank has ended, or said nothing for as long as the time-out."""


def join(timeout: float) -> None:
    """
    Join the other ranks: NCCL for tensors on GPUs, one GPU for each rank of a machine, gloo for those on the CPU.

    A process group that is there already is used as it is.

    :param timeout: seconds without an answer after which the other ranks count as lost, > 0
    :raises ValueError: if the time-out is not positive, or nobody has said who the other ranks are
    """
    if not timeout > 0.0:
        raise ValueError(f"timeout={timeout!r} must be a positive number of seconds")
    if dist.is_initialized():
        return
    missing = [name for name in RENDEZVOUS if name not in os.environ]
    if missing:
        raise ValueError(
            f"nobody has said who the other ranks are ({', '.join(missing)} not set): "
            "start the script with torchrun --nproc-per-node 2 script.py"
        )
    backend = "gloo"
    if th.cuda.is_available():
        th.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    with answered(timeout):
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    atexit.register(_leave)


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
def answered(timeout: float | None = None) -> Iterator[None]:
    """
    Say in one line what it means when others do not answer.

    :param timeout: seconds that were waited; those of the group if None
    :raises RankLostError: if they do not
    """
    try:
        yield
    except RuntimeError as error:
        who = f"rank {dist.get_rank()}" if dist.is_initialized() else "this rank"
        limit = "" if timeout is None else f" of {timeout:g} s"
        raise RankLostError(
            f"{who} waited in vain: another rank has ended (its own message says why) or was silent for longer than "
            f"the time-out{limit}"
        ) from error


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
