"""
Learning, proven each time: the example that ``make demo`` runs.

A pole falls within five steps under the untrained actor. The defaults of the policy have to balance it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from stable_baselines3 import TD3

EXAMPLE = Path(__file__).parents[1] / "examples" / "inverted_pendulum.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`n_steps=5` is ignored")  # SB3 says so when it loads any n-step model.
def test_the_demo_balances_and_writes_what_it_says(tmp_path):
    pytest.importorskip("mujoco", reason="the demo balances a MuJoCo pendulum")
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(tmp_path)], check=True, capture_output=True, text=True
    )
    returns = dict(re.findall(r"^(untrained|trained) spiking agent +return +([\d.]+)", result.stdout, re.MULTILINE))
    assert float(returns["untrained"]) < 100
    assert float(returns["trained"]) >= 900
    assert "accumulates per action" in result.stdout
    assert (tmp_path / "popsan.png").read_bytes().startswith(b"\x89PNG")
    assert TD3.load(tmp_path / "popsan").policy.spiking_network.options.neuron == "cuba_lif"
