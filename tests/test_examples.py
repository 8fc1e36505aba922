"""The examples of the documentation run as they are written, with a smaller budget."""

import re
import runpy
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from tests.reader import extras_of, readers_packages

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
SHORT = [path for path in EXAMPLES if path.read_text().count("\n# --8<-- [start:example]")]
"""Those that are shown from beginning to end; what is shown in part has options of its own."""
TRAIN = [path for path in EXAMPLES if ".learn(" in path.read_text()]


def test_there_are_examples_in_the_documentation():
    shown = [path for path in EXAMPLES if "[start:example]" in path.read_text()]
    assert len(SHORT) > 3
    assert all(f"examples/{path.name}:example" in PAGES for path in shown)


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_example_runs(path, short_training, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with readers_packages(path.read_text()):
        runpy.run_path(str(path))
    assert capsys.readouterr().out.splitlines()[-1].startswith("return ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_names_the_extra_of_its_environment(path):
    text = path.read_text()
    specs = [gym.spec(name) for name in re.findall(r'"(\w+-v\d)"', text)]
    assert "mujoco" in extras_of(text) or not any("mujoco" in str(spec.entry_point) for spec in specs)


@pytest.mark.parametrize("path", TRAIN, ids=lambda path: path.stem)
def test_example_that_trains_takes_one_thread(path):
    assert "th.set_num_threads(" in path.read_text()


def test_receptive_fields_are_drawn(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "fields.png"
    monkeypatch.setattr(sys, "argv", ["receptive_fields.py", "--out", str(picture)])
    runpy.run_path(str(EXAMPLES[0].parent / "receptive_fields.py"), run_name="__main__")
    assert "  81 different codes in 5 steps\n" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
