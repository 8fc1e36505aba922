"""The tutorials run as they are written, from top to bottom, with shorter training."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.reader import readers_packages
from tests.reference import PUBLISHED_ACTOR, popsan_checkpoint

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
FREQUENCIES = ("eval_freq", "log_freq", "draw_freq")


def shortened(learn):
    """Return a ``learn`` that ends soon after learning has begun, and calls the callbacks once or twice until then."""

    def short(self, total_timesteps, callback=None, **kwargs):
        start = self.learning_starts if isinstance(self, OffPolicyAlgorithm) else 0
        steps = min(total_timesteps, start + 150)
        for each in callback if isinstance(callback, list) else [callback]:
            for name in FREQUENCIES:
                if isinstance(each, BaseCallback) and hasattr(each, name):
                    setattr(each, name, min(getattr(each, name), start + 50))
        return learn(self, steps, callback=callback, **{"log_interval": 1, **kwargs})

    return short


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tutorial_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    np.savez(tmp_path / "actor.npz", **popsan_checkpoint("published" if PUBLISHED_ACTOR.exists() else "own"))
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    for algorithm in (DQN, PPO, SAC, TD3):
        monkeypatch.setattr(algorithm, "learn", shortened(algorithm.learn))
    with readers_packages(page.read_text()):
        for example in Sybil([PythonCodeBlockParser(), SkipParser()]).parse(page).examples():
            example.evaluate()
    plt.close("all")


@pytest.mark.parametrize("page", [*PAGES, DOCS / "quickstart.md"], ids=lambda page: page.stem)
def test_the_first_block_takes_one_thread(page):
    """With torch's default a gradient step of small networks takes several times as long on a busy machine."""
    first, *_ = Sybil([PythonCodeBlockParser()]).parse(page).examples()
    assert "\nth.set_num_threads(1)" in str(first.parsed)
    assert "threads" in page.read_text().replace(str(first.parsed), "")  # and says why


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_of_a_tutorial_is_drawn_by_it(page):
    text = page.read_text()
    shown = {line.split("images/tutorials/")[1].rstrip(")") for line in text.splitlines() if "](../images/tut" in line}
    assert all((DOCS / "images" / "tutorials" / name).exists() and f'"{name}"' in text for name in shown)
