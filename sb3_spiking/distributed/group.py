"""The ranks that train together: PyTorch's default process group, and what they tell each other."""

import atexit
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch as th
import torch.distributed as dist

RENDEZVOUS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_T = TypeVar("_T")

LAST_PORT = 65535

PAUSE = 0.2
"""Seconds between two attempts to reach the address where the ranks meet."""

GRACE = 3.0
"""Seconds beyond the time-out in which torch may still say itself why an answer is none."""


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
    said = {name: os.environ[name] for name in RENDEZVOUS if name != "MASTER_ADDR"}
    for name, value in said.items():
        if not value.isdecimal() or (name == "MASTER_PORT" and int(value) > LAST_PORT):
            raise ValueError(
                f"{name}={value!r} must be an integer >= 0 (a port <= {LAST_PORT}); torchrun sets it by itself"
            )
    numbers = {name: int(value) for name, value in said.items()}
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
    """Make the process group, or say where that failed and why."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        # Who listens there is the first rank, or torchrun for all of them.
        if os.environ["RANK"] != "0" or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _wait_for_answer(address, port, timeout)
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except (OSError, RuntimeError, ValueError) as error:
        raise RankLostError(f"cannot join at {address}:{port} within {timeout:g} s: {_first_line(error)}") from None


def _wait_for_answer(address: str, port: int, timeout: float) -> None:
    """
    Wait until somebody at an address answers as those do who bring ranks together.

    :raises OSError: if nobody can be reached within the time-out
    :raises RuntimeError: if who is reached does not answer in that way
    """
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address, port), max(end - time.monotonic(), PAUSE)).close()
            break
        except OSError:
            if time.monotonic() + PAUSE > end:
                raise
            time.sleep(PAUSE)
    _greet(address, port, max(end - time.monotonic(), 1.0))


def _greet(address: str, port: int, timeout: float) -> None:
    """Ask for an answer in a thread: torch itself waits for it without end."""
    answer: Future[None] = Future()

    def ask() -> None:
        try:
            wait = timedelta(seconds=timeout)
            dist.TCPStore(address, port, timeout=wait, wait_for_workers=False)  # type: ignore[attr-defined]
            answer.set_result(None)
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer.result(timeout + GRACE)
    except TimeoutError:
        raise TimeoutError("who listens there does not answer as a rank does") from None


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
