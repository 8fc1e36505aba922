"""
Costs of products on this processor, which decide how spikes and weights are multiplied.

A dense product costs its multiply-accumulates. A product that skips silent inputs costs the transposition of the
weights, a look at each input, and an addition per spike and neuron. Processors differ in the costs of these units, so
they are measured once on a machine and kept beside the compiled kernels.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch as th

UPPER = 100.0
"""Largest cost that is believed, in nanoseconds."""


@dataclass(frozen=True)
class Costs:
    """
    Costs of the units of work, in nanoseconds.

    :param dense: multiply-accumulate of a dense product
    :param spike: addition of a weight for a spike
    :param gradient: addition of a gradient for a spike, where the gradient of the weights is computed
    :param look: look at an input, whether it has fired
    :param transposition: transposition of a weight
    """

    dense: float
    spike: float
    gradient: float
    look: float
    transposition: float

    def __post_init__(self) -> None:
        for name, cost in dataclasses.asdict(self).items():
            if not isinstance(cost, float) or not 0.0 < cost < UPPER:
                raise ValueError(f"{name}={cost!r} must lie in (0, {UPPER:g}) nanoseconds")

    def largest_density(self, rows: int, neurons: int) -> float:
        """
        Return the share of firing inputs up to which it is cheaper to skip the silent ones.

        :param rows: number of rows, observations times time steps
        :param neurons: number of neurons
        :return: share; < 0 where the dense product is always cheaper
        """
        return (self.dense - self.look / neurons - self.transposition / rows) / self.spike


DEFAULTS = Costs(dense=0.015, spike=0.045, gradient=0.055, look=0.5, transposition=0.5)
"""Costs where none could be measured: those of one core of a Xeon with AVX-512 (Emerald Rapids)."""

_KNOWN: dict[int, Costs] = {}
"""Number of torch's threads -> costs."""


def costs() -> Costs:
    """Return the costs with torch's present number of threads; the defaults before `prepare`."""
    return _KNOWN.get(th.get_num_threads(), DEFAULTS)


def are_measured() -> bool:
    """Return whether `costs` were measured on this machine."""
    return costs() is not DEFAULTS


def prepare(folder: Path | None, machine: str, measure: Callable[[], Costs]) -> None:
    """
    Read the costs of this machine, or measure them; in a process they never change afterwards.

    :param folder: folder of the compiled kernels; None where no folder can be written: then the defaults stay
    :param machine: description of the processor and of the software, to which the costs belong
    :param measure: measurement
    """
    threads = th.get_num_threads()
    if threads in _KNOWN:
        return
    if folder is None:
        _KNOWN[threads] = DEFAULTS
        return
    name = hashlib.sha256(f"{machine}, {threads} threads".encode()).hexdigest()[:12]
    _KNOWN[threads] = _kept(folder / f"costs-{name}.json", measure)


def _kept(path: Path, measure: Callable[[], Costs]) -> Costs:
    """Read costs from a file; measure and write them where there is none."""
    found = _read(path)
    if found is not None:
        return found
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.unlink(missing_ok=True)  # damaged
        measured = measure()
        partial.write_text(json.dumps(dataclasses.asdict(measured)))
        # Several processes may measure at once: the first file stays, so that all of them choose alike from now on.
        with suppress(FileExistsError):
            os.link(partial, path)
        return _read(path) or DEFAULTS
    except (OSError, ValueError):  # a file system without links, a clock that stands still
        return DEFAULTS
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _read(path: Path) -> Costs | None:
    with suppress(OSError, ValueError, TypeError):
        return Costs(**json.loads(path.read_text()))
    return None
