"""Provenance of a measurement: code, versions, machine and date."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th

PACKAGES = ("gymnasium", "numba", "numpy", "sb3_spiking", "spikingjelly", "stable_baselines3", "torch")


def provenance() -> dict[str, Any]:
    """Return the code, versions, machine and date of a record."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "commit": commit(),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "os": platform.platform(), "gpus": gpus()},
        "threads": th.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Return the commit of the working tree, marked as dirty if there are changes."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def gpus() -> list[str]:
    """Return the names of the GPUs visible to torch."""
    return [th.cuda.get_device_name(index) for index in range(th.cuda.device_count())]


def cpu() -> str:
    """Return the name of the processor, as far as the system reports it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
