import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

import sb3_spiking
from sb3_spiking.cli import main
from sb3_spiking.cli.system_info import system_info
from sb3_spiking.policies.presets import NAMES
from sb3_spiking.policies.registry import ALGORITHMS


def test_every_algorithm_is_listed_with_its_policies():
    policies = system_info().policies
    assert list(policies) == [algorithm.__name__ for algorithm in ALGORITHMS]
    assert all(names == list(NAMES) for names in policies.values())


def test_the_command_prints_what_the_function_returns(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == dataclasses.asdict(system_info())
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert th.__version__ in printed
    assert sb3_spiking.__version__ in printed
    assert "\x1b" not in printed  # colours would be pasted into the report


@pytest.mark.parametrize(
    ("problem", "told"), [(None, "fused kernels"), ("No C compiler.", "SpikingJelly's nodes: No C compiler.")]
)
def test_what_runs_neurons_on_gpus_is_told_where_there_are_some(problem, told, monkeypatch, capsys):
    info = dataclasses.replace(system_info(), gpus=["H200"], gpu_problem=problem)
    monkeypatch.setattr("sb3_spiking.cli.info.system_info", lambda: info)
    assert main(["info"]) == 0
    assert f"on GPUs         {told}\n" in capsys.readouterr().out


def test_the_users_name_is_not_in_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(Path(sb3_spiking.__file__).parents[1]))
    cache = system_info().kernels.cache
    assert cache is None or cache.startswith("~")


@pytest.mark.parametrize("folder", [True, False])
def test_it_is_seen_that_nothing_was_compiled_or_can_be_kept(folder, tmp_path):
    # A locator for packages inside zip files finds no place for this one.
    variable = {"NUMBA_CACHE_DIR": str(tmp_path)} if folder else {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    script = "import json; from sb3_spiking.cli import main; main(['info', '--json'])"
    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **variable}, check=True, capture_output=True, text=True
    )
    kernels = json.loads(result.stdout)["kernels"]
    assert kernels["fused"] is True
    assert kernels["compiled"] is False
    assert (kernels["cache"] is not None) is folder


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell, capsys):
    pytest.importorskip("shtab", reason="shtab is an extra")
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert "sweep" in script
    assert all(command in script for command in ("convert", "evaluate", "inspect", "info", "train", "enjoy"))
