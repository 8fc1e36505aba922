"""
Peak memory of one forward and backward pass of an actor network, in MiB above the memory held before.

    python benchmarks/peak_memory.py spiking 4096

Each figure takes a process of its own (`speed.py memory` starts them). Linux only: ``getrusage`` includes the memory of
the parent process at the fork, so the high-water mark of the kernel is reset and read instead.
"""

import argparse
import re
from pathlib import Path

import torch as th
from implementations import ACTORS, OBSERVATIONS, make_actor

PROCESS = Path("/proc/self")


def kibibytes(key: str) -> int:
    """Return an entry of the process status in KiB: ``VmRSS`` is the resident memory, ``VmHWM`` its peak."""
    found = re.search(rf"^{key}:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{PROCESS}/status has no {key}: peak memory can be measured on Linux only")
    return int(found.group(1))


def growth(name: str, batch: int) -> float:
    """Return the peak growth of memory during a forward and backward pass in MiB."""
    actor, observations = make_actor(name), th.randn(batch, OBSERVATIONS)
    actor(observations[:1]).sum().backward()  # lazy imports and compilation
    actor.zero_grad()
    (PROCESS / "clear_refs").write_text("5")
    before = kibibytes("VmRSS")
    actor(observations).sum().backward()
    return (kibibytes("VmHWM") - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("actor", choices=ACTORS)
    parser.add_argument("batch", type=int)
    args = parser.parse_args()
    th.set_num_threads(1)
    th.manual_seed(0)
    print(growth(args.actor, args.batch))


if __name__ == "__main__":
    main()
