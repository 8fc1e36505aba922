"""The examples of the documentation run as they are written, with a smaller budget."""

import runpy
from pathlib import Path

import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common import evaluation
from stable_baselines3.common.base_class import BaseAlgorithm

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SHORT = [path for path in EXAMPLES if "[start:example]" in path.read_text()]


def test_there_are_examples_in_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "algorithms.md").read_text()
    assert SHORT
    assert all(f"examples/{path.name}:example" in page for path in SHORT)


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_example_runs(path, monkeypatch, capsys):
    if "minatar" in path.stem:
        pytest.importorskip("minatar", reason="MinAtar is an extra")

    def shortened(learn):
        def short(self: BaseAlgorithm, total_timesteps: int, progress_bar: bool = False):
            return learn(self, min(total_timesteps, 300))

        return short

    for algorithm in (SAC, PPO, DQN):
        monkeypatch.setattr(algorithm, "learn", shortened(algorithm.learn))
    evaluate = evaluation.evaluate_policy
    monkeypatch.setattr(evaluation, "evaluate_policy", lambda model, env, n_eval_episodes: evaluate(model, env, 1))
    runpy.run_path(str(path))
    assert capsys.readouterr().out.startswith("return ")
