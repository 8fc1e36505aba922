"""Two processes that train together are one that has all of the batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

from tests.conftest import once
from tests.distributed.batches import MODELS, OTHERS, learn_from, make_plain, parameters

ROOT = Path(__file__).parents[2]
every_model = pytest.mark.parametrize("name", MODELS)


# A rendezvous of its own on a free port, as several runs may be under way.
ALONE = ("--standalone", "--nproc-per-node", "2")


def command(*tasks, folder, options=ALONE):
    """Return how to run tasks of ``ranks.py``, and in which environment."""
    words = [sys.executable, "-m", "torch.distributed.run", *options]
    words += [str(ROOT / "tests" / "distributed" / "ranks.py"), *tasks, str(folder)]
    return {"args": words, "env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}


def torchrun(*tasks, folder, check=True):
    """Run tasks on two ranks."""
    return subprocess.run(**command(*tasks, folder=folder), check=check, capture_output=True, text=True, timeout=600)


def said(folder, task):
    return [json.loads((folder / f"{task}{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Run what goes well in one start: that takes longest."""
    tasks = ("one_step", "train", "stop_early", "unequal", "drifting")
    return once(tmp_path_factory, "ranks", lambda folder: torchrun(*tasks, folder=folder))


@every_model
def test_one_step_on_two_ranks_equals_one_step_on_the_whole_batch(name, together):
    model = make_plain(name)
    before = parameters(model)
    learn_from(model)
    alone = parameters(model)
    changed = 0
    for ranks in said(together, "one_step"):
        assert ranks[name].keys() == alone.keys()
        for part, values in alone.items():
            expected = th.tensor(values, dtype=th.float64)
            th.testing.assert_close(th.tensor(ranks[name][part], dtype=th.float64), expected, rtol=0, atol=1e-6)
            changed += before[part] != values
    assert changed > 10


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_after_training_the_ranks_are_equal_to_the_bit(name, together):
    first, second = (rank[name] for rank in said(together, "train"))
    assert first["digest"] == second["digest"]
    assert first["updates"] == second["updates"] > 0


@every_model
def test_the_budget_counts_the_steps_of_all_the_ranks(name, together):
    for rank in said(together, "train"):
        assert 1000 <= rank[name]["timesteps"] < 1000 + 128


@every_model
def test_each_rank_has_environments_of_its_own(name, together):
    first, second = (rank[name] for rank in said(together, "train"))
    assert first["first_observation"] != second["first_observation"]


@every_model
def test_the_ranks_know_the_episodes_of_all(name, together):
    first, second = (rank[name]["episodes"] for rank in said(together, "train"))
    assert set(first) & set(second)


@pytest.mark.parametrize("name", ["TD3", "PPO"])
def test_a_callback_of_the_first_rank_ends_the_training_on_all(name, together):
    first, second = (rank[name] for rank in said(together, "stop_early"))
    assert 400 <= first["timesteps"] < 400 + 128
    assert second["timesteps"] < 400 + 256
    assert first["digest"] == second["digest"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size", "batch_size is 128 and not 64"),
        ("time_steps", "policy_kwargs.time_steps is 6 and not 5"),
        ("threshold", "policy_kwargs.neuron_kwargs.threshold is 1.5 and not 0.5"),
        ("clip_range", "clip_range(0.999) is 0.1996002 and not 0.1998"),
    ],
)
def test_settings_that_differ_are_named(setting, message, together):
    for rank in said(together, "unequal"):
        assert rank[setting].startswith(f"rank 1 differs from rank 0: {message}")


def test_environments_that_differ_are_named_with_the_way_out(together):
    for rank in said(together, "unequal"):
        assert rank["environment"].endswith("if that is meant: DataParallelCallback(may_differ=['environment'])")


def test_what_is_refused_on_one_rank_is_said_on_all(together):
    first, second = (rank["refused"] for rank in said(together, "unequal"))
    assert second.startswith("target_kl=0.01: each rank would stop")
    assert first == f"rank 1: {second}"


def test_networks_that_drift_apart_end_the_training(together):
    for rank in said(together, "drifting"):
        assert "of rank 1 differs from rank 0's" in rank["error"]


def join(rank, port):
    """Join as one of two ranks, with nobody else there; return the lines of the error output."""
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    script = "from sb3_spiking.distributed import DataParallelCallback as D; D(timeout=3.0)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **place, "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    return result.stderr.splitlines()


@pytest.mark.parametrize(
    ("rank", "reason"),
    [(0, "address already in use"), (1, "the process at this address does not answer as a rank does")],
)
def test_a_port_that_somebody_else_has_is_named_within_the_time_out(rank, reason):
    with socket.socket() as other:  # takes connections, and never answers
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        *_, last = lines = join(rank, port)
    message = f"sb3_spiking.distributed.group.RankLostError: cannot join at 127.0.0.1:{port} within 3 s: "
    assert last.startswith(message)
    assert reason in last
    assert not [line for line in lines if "direct cause" in line or "Exception raised from" in line]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_nobody_else_joins_says_where_it_waited(rank):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f"RankLostError: cannot join at 127.0.0.1:{port} within 3 s: " in join(rank, port)[-1]


def test_a_killed_rank_ends_the_others_and_training_goes_on_from_the_checkpoint(tmp_path):
    result = torchrun("killed", folder=tmp_path, check=False)
    assert result.returncode != 0
    assert not list(tmp_path.glob("killed*"))
    torchrun("resume", folder=tmp_path)
    first, second = said(tmp_path, "resume")
    assert first["before"] == second["before"] >= 100
    assert first["before"] % 100 == 0
    assert first["after"] == second["after"] == 1000
    assert first["digest"] == second["digest"]


def test_a_rank_that_hangs_ends_the_others_with_one_message(tmp_path):
    result = torchrun("hanging", folder=tmp_path, check=False)
    assert result.returncode != 0
    assert result.stderr.count("RankLostError: rank 0 timed out") == 1
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_two_machines_meet_at_an_address(tmp_path):
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    options = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test")
    options += ("--rdzv-endpoint", f"localhost:{port}")
    machines = [subprocess.Popen(**command("unequal", folder=tmp_path, options=options)) for _ in range(2)]
    assert [machine.wait(timeout=300) for machine in machines] == [0, 0]
    assert all("batch_size is 128" in rank["batch_size"] for rank in said(tmp_path, "unequal"))
