"""Versions of this package and of its dependencies."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"

REQUIRED = ("sb3-spiking", "stable-baselines3", "gymnasium", "spikingjelly", "torch", "numpy", "numba")
OPTIONAL = ("triton", "sb3-contrib", "mujoco", "ale-py", "MinAtar", "rl_zoo3")


def versions() -> dict[str, str | None]:
    """Return the version of each package, None if it is not installed."""
    return {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}


def _version(package: str) -> str | None:
    if package == "sb3-spiking":
        return __version__  # a clone may be newer than pip's metadata
    try:
        return version(package)
    except PackageNotFoundError:
        return None
