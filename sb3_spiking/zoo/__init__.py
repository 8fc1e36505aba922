"""
Hyperparameters for rl_zoo3, one YAML file per algorithm: exactly those of the runs in docs/results.md.

``python -m rl_zoo3.train --gym-packages sb3_spiking --conf-file FILE`` takes them as well.
"""

from pathlib import Path

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yml"))}
"""rl_zoo3's name of an algorithm -> its file."""
