"""
Agents trained by others, where they are at hand, and agents of our own in the same formats, which always are.

The agents of others are not part of the repository. ``SB3_SPIKING_REFERENCE`` names a folder with
``popsan-halfcheetah/actor.npz`` (an actor of the PopSAN authors) and ``zoo-dqn/*.zip`` (agents of rl-trained-agents).
"""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.published_popsan import own_checkpoint

REFERENCE = Path(os.environ.get("SB3_SPIKING_REFERENCE", Path(__file__).resolve().parents[2] / "shared" / "reference"))
PUBLISHED_ACTOR = REFERENCE / "popsan-halfcheetah" / "actor.npz"
SB3_1_0 = Path(__file__).parent / "fixtures" / "sb3-1.0"


def at_hand(path):
    """Return a path; skip the test if there is no such file."""
    if not path.exists():
        pytest.skip(f"this agent of others is not here: {path}")
    return path


def zoo_agent(name):
    """Return the path of an agent in the format of SB3 1.0: our own, or one of rl-trained-agents."""
    own = SB3_1_0 / f"{name}.zip"
    return own if own.exists() else at_hand(REFERENCE / "zoo-dqn" / f"{name.removeprefix('others/')}.zip")


def popsan_checkpoint(name):
    """Return the arrays of a PopSAN actor, ``"own"`` or ``"published"``, and what it does."""
    if name == "own":
        return own_checkpoint()
    with np.load(at_hand(PUBLISHED_ACTOR), allow_pickle=False) as data:
        return dict(data)
