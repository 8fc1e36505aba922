"""
Hyperparameters for rl_zoo3, one YAML file for each algorithm: those of the runs in docs/results.md, and no others.

``python -m rl_zoo3.train --gym-packages sb3_spiking --conf-file FILE`` takes them as well.
"""

from pathlib import Path

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yml"))}
"""Name of an algorithm, as rl_zoo3 writes it -> its file."""
