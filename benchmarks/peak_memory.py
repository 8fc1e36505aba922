"""
Peak memory of one forward and backward pass of an actor network, in MiB above what the process held before.

    python benchmarks/peak_memory.py spiking 4096

A process of its own for each figure (`speed.py memory` starts them). Linux only: ``getrusage`` counts what the parent
held before this process was one, so the kernel's own high-water mark is reset and read.
"""

import argparse
import re
from pathlib import Path

import torch as th
from contestants import ACTORS, OBSERVATIONS, make_actor

PROCESS = Path("/proc/self")


def kibibytes(key: str) -> int:
    """Return a line of the process's status: ``VmRSS`` is what it holds, ``VmHWM`` the most it has held."""
    found = re.search(rf"^{key}:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"this system does not tell {key}")
    return int(found.group(1))


def growth(name: str, batch: int) -> float:
    """Return the MiB that a forward and backward pass adds at its peak."""
    actor, observations = make_actor(name), th.randn(batch, OBSERVATIONS)
    actor(observations[:1]).sum().backward()  # loads what is loaded on first use
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
