"""The versions that pyproject.toml allows are those that are tested."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = {"ruff", "mypy", "pre-commit", "triton", "mkdocs", "mkdocs-material", "mkdocstrings"} | {
    *("onnx", "onnxruntime", "onnxscript", "pytest-xdist")
}
"""What no user needs: constraints.txt says which versions are meant."""


def requirements():
    """Return what the package and its extras ask for, without the extras of other packages."""
    listed = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    return [requirement for requirement in map(Requirement, listed) if requirement.specifier]


def lower_bounds():
    """Return the oldest version of each requirement that users or tests meet."""
    bounds = {}
    for requirement in requirements():
        (bound,) = (clause.version for clause in requirement.specifier if clause.operator == ">=")
        if requirement.name not in TOOLS:
            bounds[requirement.name] = Version(bound)
    return bounds


def pinned(file):
    """Return the versions of a constraints file."""
    lines = (ROOT / file).read_text().splitlines()
    return {name: Version(version) for name, version in (line.split("==") for line in lines if re.match(r"\w", line))}


def test_the_oldest_versions_tested_are_the_oldest_allowed():
    oldest, bounds = pinned("constraints-oldest.txt"), lower_bounds()
    assert len(bounds) >= 15
    for name, bound in bounds.items():
        # A bound of two parts is met by the first release of them: nvidia-ml-py>=12 is 12.535.77.
        assert oldest[name] >= bound, name
        assert oldest[name].release[: len(bound.release)] == bound.release, name


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-oldest.txt"])
def test_the_versions_tested_are_allowed(file):
    versions = {name.lower().replace("_", "-"): version for name, version in pinned(file).items()}
    asked = {requirement.name.lower().replace("_", "-"): requirement.specifier for requirement in requirements()}
    common = versions.keys() & asked.keys()
    assert len(common) >= 15
    assert [name for name in common if versions[name] not in asked[name]] == []


def test_every_version_of_python_that_is_named_is_allowed():
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    named = [line.split()[-1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named
    assert all(version in allowed for version in named)
    assert f"Python {min(named, key=Version)} or newer" in (ROOT / "docs" / "installation.md").read_text()
