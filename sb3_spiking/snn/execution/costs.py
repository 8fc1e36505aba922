"""
Costs of products on this processor, which decide how spikes and weights are multiplied.

A dense product costs its multiply-accumulates. A product that skips silent inputs costs the transposition of the
weights, a look at each input, an entry in a list for each spike, and an addition per spike and neuron. Processors
differ in the costs of these units, so they are measured once on a machine and kept beside the compiled kernels.
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
    :param rounded: multiply-accumulate of a dense product with factors rounded to bfloat16
    :param spike: addition of a weight for a spike
    :param gradient: addition of a gradient for a spike, where the gradient of the weights is computed
    :param look: look at an input, whether it has fired
    :param entry: entry of a spike in a list
    :param transposition: transposition of a weight
    """

    dense: float
    rounded: float
    spike: float
    gradient: float
    look: float
    entry: float
    transposition: float

    def __post_init__(self) -> None:
        for name, cost in dataclasses.asdict(self).items():
            if not isinstance(cost, float) or not 0.0 < cost < UPPER:
                raise ValueError(f"{name}={cost!r} must lie in (0, {UPPER:g}) nanoseconds")
        if min(self.spike, self.gradient) < self.dense:
            raise ValueError(f"spike={self.spike} and gradient={self.gradient} cannot be less than dense={self.dense}")

    def largest_density(self, rows: int, neurons: int, rounded: bool = False) -> float:
        """
        Return the share of firing inputs up to which a product that skips the silent ones is cheaper than a dense one.

        :param rows: number of rows, observations times time steps
        :param neurons: number of neurons
        :param rounded: whether the dense product rounds its factors to bfloat16
        :return: share; < 0 where the dense product is always cheaper
        """
        dense = self.rounded if rounded else self.dense
        return (dense - self.look / neurons - self.transposition / rows) / (self.spike + self.entry / neurons)

    def largest_gradient_density(self, rounded: bool = False) -> float:
        """
        Return the same share for the gradient of the weights, where the spikes are listed already.

        :param rounded: whether the dense product rounds its factors to bfloat16
        :return: share
        """
        return (self.rounded if rounded else self.dense) / self.gradient


DEFAULTS = Costs(dense=0.014, rounded=0.014, spike=0.045, gradient=0.055, look=0.07, entry=1.5, transposition=0.9)
"""Costs where none could be measured: those of one core of a Xeon with AVX-512, without a gain from bfloat16."""

_KNOWN: list[Costs] = []
"""Costs of this process, once they are known."""


def costs() -> Costs:
    """Return the costs; the defaults before `prepare`."""
    return _KNOWN[0] if _KNOWN else DEFAULTS


def are_measured() -> bool:
    """Return whether `costs` were measured on this machine."""
    return costs() is not DEFAULTS


def prepare(folder: Path | None, machine: Callable[[], str], measure: Callable[[], Costs]) -> None:
    """
    Read the costs of this machine with torch's present number of threads, or measure them.

    In a process they never change afterwards.

    :param folder: folder of the compiled kernels; None where no folder can be written: then the defaults stay
    :param machine: function that describes the processor and the software to which the costs belong
    :param measure: measurement
    """
    if not _KNOWN:
        _KNOWN.append(DEFAULTS if folder is None else _kept(_file(folder, machine()), measure))


def read(folder: Path | None, machine: str) -> Costs | None:
    """
    Read the costs that were measured on this machine, with torch's present number of threads.

    :param folder: folder of the compiled kernels
    :param machine: description of the processor and the software
    :return: costs; None where none were measured
    """
    return None if folder is None else _read(_file(folder, machine))


def _file(folder: Path, machine: str) -> Path:
    name = hashlib.sha256(f"{machine}, {th.get_num_threads()} threads".encode()).hexdigest()[:12]
    return folder / f"costs-{name}.json"


def _kept(path: Path, measure: Callable[[], Costs]) -> Costs:
    """Read costs from a file; measure and write them where there is none."""
    found = _read(path)
    if found is not None:
        return found
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    damaged = path.exists()
    try:
        measured = measure()
        partial.write_text(json.dumps(dataclasses.asdict(measured)))
        _place(partial, path, replace=damaged)
        return _read(path) or DEFAULTS
    except (OSError, ValueError):  # a full disk, a clock that stands still
        return DEFAULTS
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _place(partial: Path, path: Path, replace: bool) -> None:
    """Give a file its name. Several processes may measure at once: the first file stays, so that all choose alike."""
    if not replace:
        try:
            os.link(partial, path)
            return
        except FileExistsError:
            return
        except OSError:  # a file system without links
            pass
    partial.replace(path)


def _read(path: Path) -> Costs | None:
    with suppress(OSError, ValueError, TypeError):
        return Costs(**json.loads(path.read_text()))
    return None
