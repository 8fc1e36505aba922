"""Files of trained agents, good ones and what is evil in bad ones."""

import pytest
import torch as th

from tests.reading.agents import AGENTS, Evil, dqn


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a good file."""
    path = tmp_path_factory.mktemp("saved") / "dqn.zip"
    dqn(net_arch=[8], activation_fn=th.nn.ReLU).save(path)
    return path


@pytest.fixture(scope="module")
def saved_grid(tmp_path_factory):
    """Return a good file of an agent with convolutions of our own."""
    path = tmp_path_factory.mktemp("saved") / "grid.zip"
    dqn(**AGENTS["small grid"]).save(path)
    return path


@pytest.fixture
def evil(tmp_path):
    """Return what makes a folder when unpickled, and prove that nothing did."""
    folder = tmp_path / "executed"
    yield Evil(folder)
    assert not folder.exists()
