"""Process group of the ranks: joining it, and torch's collectives with clear errors."""

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
"""Seconds between two attempts to reach the rendezvous address."""

GRACE = 3.0
"""Seconds beyond the time-out for torch to report its own error."""


class RankLostError(RuntimeError):
    """Another rank cannot be reached, has ended, or has not answered within the time-out."""


def join(timeout: float) -> None:
    """
    Join the process group: NCCL for tensors on GPUs, one GPU per rank of a machine, gloo for tensors on the CPU.

    An existing process group is used as it is.

    :param timeout: seconds without an answer after which other ranks count as lost, > 0
    :raises ValueError: if the time-out is not positive, or torchrun's environment variables are missing or wrong
    :raises RankLostError: if the other ranks cannot be reached within the time-out
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
    """Read and check the numbers that torchrun gives a process."""
    missing = [name for name in RENDEZVOUS if name not in os.environ]
    if missing:
        raise ValueError(
            f"this process has no rank ({', '.join(missing)} not set): "
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
    """Make the process group, with an error that names the address."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        # Rank 0 opens the port itself, unless torchrun has.
        if os.environ["RANK"] != "0" or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _wait_for_answer(address, port, timeout)
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except (OSError, RuntimeError, ValueError) as error:
        raise RankLostError(f"cannot join at {address}:{port} within {timeout:g} s: {_first_line(error)}") from None


def _wait_for_answer(address: str, port: int, timeout: float) -> None:
    """
    Wait for torch's store at an address.

    :raises OSError: if the address cannot be reached within the time-out
    :raises RuntimeError: if something else than a store answers
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
    """Connect in a thread: torch itself would wait for the answer without end."""
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
        raise TimeoutError("the process at this address does not answer as a rank does") from None


def _first_line(error: BaseException) -> str:
    """Return the message of an error without its C++ traceback."""
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
    """Convert torch's communication errors to `RankLostError`."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            f"rank {dist.get_rank()} timed out: another rank has ended (its own message says why) or was silent "
            f"for longer than the time-out ({_first_line(error)})"
        ) from None


def all_gather_object(own: _T) -> list[_T]:
    """Return the object of each rank, in the order of the ranks; it must be picklable."""
    everyone: list[Any] = [None] * size()
    with answered():
        dist.all_gather_object(everyone, own)
    return everyone


def broadcast_object(own: _T) -> _T:
    """Return the object of rank 0."""
    objects = [own]
    with answered():
        dist.broadcast_object_list(objects, src=0)
    return objects[0]


def broadcast(tensors: list[th.Tensor]) -> None:
    """Overwrite tensors by those of rank 0; number and shapes are the same on each rank."""
    with answered():
        for tensor in tensors:
            dense = tensor.detach().contiguous()
            dist.broadcast(dense, src=0)
            if dense.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(dense)


def all_gather(own: th.Tensor) -> list[th.Tensor]:
    """Return the tensor of each rank, in the order of the ranks; the shape is the same on each."""
    everyone = [th.empty_like(own) for _ in range(size())]
    with answered():
        dist.all_gather(everyone, own.contiguous())
    return everyone


def all_reduce(tensor: th.Tensor) -> th.Tensor:
    """Sum a contiguous tensor over the ranks, in place, and return it; the shape is the same on each."""
    with answered():
        dist.all_reduce(tensor)
    return tensor
