"""
Documentation runs with the packages that its readers have.

A page names what it needs beyond the package itself as its readers install it: ``pip install -e ".[mujoco]"``. What
neither the package nor these extras require cannot be imported here, although the developers' environment has it.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest
from gymnasium.error import DependencyNotInstalled
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
INSTALLS = re.compile(r'pip install -e "\.\[([\w,-]+)\]"')
TOOLS = ("pytest", "sybil")
"""These run the documentation, and may import what they need meanwhile."""


def extras_of(text: str) -> list[str]:
    """Return the extras that a page or an example tells its readers to install."""
    return sorted({extra for names in INSTALLS.findall(text) for extra in names.split(",")})


def required(extras: list[str]) -> list[str]:
    """
    Return the requirements of the package with extras.

    :raises KeyError: if the package has no such extra
    """
    return PROJECT["dependencies"] + [each for extra in extras for each in PROJECT["optional-dependencies"][extra]]


def brought_by(requirements: list[str]) -> tuple[set[str], set[str]]:
    """Return the names of the distributions that requirements install, and of those that are not installed here."""
    wanted, seen, missing = [Requirement(each) for each in requirements], set(), set()
    while wanted:
        each = wanted.pop()
        name = canonicalize_name(each.name)
        for extra in {"", *each.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            try:
                others = map(Requirement, metadata.requires(name) or [])
            except metadata.PackageNotFoundError:
                missing.add(name)
                continue
            wanted += [other for other in others if other.marker is None or other.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}, missing


@cache
def owners() -> dict[str, set[str]]:
    """Return the distributions that each module at the top level comes with; the standard library comes with none."""
    modules = metadata.packages_distributions().items()
    return {module: {canonicalize_name(name) for name in names} for module, names in modules}


class Bookshelf(PathFinder):
    """Finds the modules of some distributions, as if no others were installed."""

    def __init__(self, distributions: set[str]) -> None:
        self.distributions = distributions

    def lacks(self, module: str) -> bool:
        """Return whether a module comes with distributions that are not among them."""
        owned = owners().get(module.partition(".")[0])
        return owned is not None and not owned & self.distributions

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        return None if self.lacks(fullname) else super().find_spec(fullname, path, target)


def module_not_found(error: BaseException | None) -> str:
    """Return the module that an error is about, or one that it was raised from; an empty string if there is none."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
    return "" if error is None else error.name or ""


@contextmanager
def readers_packages(text: str) -> Iterator[None]:
    """
    Let only those packages be imported that a page's readers have.

    :param text: the page or the example
    :raises AssertionError: if another package is needed
    :raises pytest.skip.Exception: if something is needed, and a package that readers have is not installed here
    """
    extras = extras_of(text)
    installed, missing = brought_by(required(extras))
    tools, _ = brought_by(list(TOOLS))
    shelf = Bookshelf({"sb3-spiking", *installed, *tools})
    finders = sys.meta_path[:]
    hidden = {name: module for name, module in sys.modules.items() if shelf.lacks(name)}
    sys.meta_path[:] = [shelf if finder is PathFinder else finder for finder in finders]
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    except (ImportError, DependencyNotInstalled) as error:
        module = module_not_found(error)
        if shelf.lacks(module):
            owned = ", ".join(sorted(owners()[module.partition(".")[0]]))
            raise AssertionError(
                f"{module} comes with {owned}, which neither the package nor its extras {extras} require: "
                "name the extra where readers are told to install, or do without"
            ) from error
        if missing:
            pytest.skip(f'needs {", ".join(sorted(missing))}: pip install -e ".[{",".join(extras)}]" ({error})')
        raise
    finally:
        sys.meta_path[:] = finders
        sys.modules.update(hidden)
