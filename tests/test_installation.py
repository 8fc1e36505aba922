"""The commands of the installation page keep a CPU build of torch, and lesser ones would not."""

import json
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "installation.md"]
ASKED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
TORCH = {"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu", "torchaudio": "2.11.0+cpu"}
"""Three builds that belong together."""


def write_metadata(folder, name, version, text=""):
    """Make pip believe that a package is installed."""
    place = folder / f"{re.sub('[-.]+', '_', name)}-{version}.dist-info"
    place.mkdir(exist_ok=True)
    (place / "METADATA").write_text(text or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def environment(tmp_path):
    """Return an environment that seems to hold everything but PyTorch's packages, and its folder of packages."""
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("[Ll]ib/**/site-packages")
    for found in distributions():
        if not re.match(r"torch|nvidia|triton|cuda|sb3.spiking", found.name):
            write_metadata(packages, found.name, found.version, found.read_text("METADATA"))
    return tmp_path / "venv", packages


def would_install(environment, *options):
    """Return the names of what pip would install, without installing it."""
    report = environment / "report.json"
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--dry-run", "--quiet"]
    pip += ["--disable-pip-version-check", "--retries", "1", "--report", str(report), *options, *ASKED]
    result = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=600)
    if result.returncode:
        if re.search("No matching distribution|Could not find a version|Connection|Max retries", result.stderr):
            pytest.skip("no package index can be reached")
        raise AssertionError(result.stderr)
    return {part["metadata"]["name"] for part in json.loads(report.read_text())["install"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_installs_all_that_spikingjelly_asks_of_pytorch(page):
    (command,) = re.findall(r"pip install (.*) --index-url https://download\.pytorch\.org/whl/cpu", page.read_text())
    asked = {Requirement(line).name for line in requires("spikingjelly") if "extra ==" not in line}
    assert set(command.split()) == {name for name in asked if name.startswith("torch")} == TORCH.keys()


def test_cpu_builds_of_all_three_are_kept(environment):
    folder, packages = environment
    for name, version in TORCH.items():
        write_metadata(packages, name, version)
    assert not would_install(folder) & {*TORCH, "triton"}


def test_a_cpu_build_of_torch_is_kept_with_the_constraints(environment):
    folder, packages = environment
    write_metadata(packages, "torch", TORCH["torch"])
    assert would_install(folder, "-c", str(ROOT / "constraints.txt")) & TORCH.keys() == {"torchvision", "torchaudio"}


def test_a_cpu_build_of_an_older_torch_alone_would_be_replaced(environment):
    # The trap itself: should pip leave it alone one day, the page may say less.
    folder, packages = environment
    write_metadata(packages, "torch", "2.8.0+cpu")
    assert "torch" in would_install(folder)
