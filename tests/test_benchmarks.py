"""The benchmarks measure what they say: statistics, implementations, provenance, one suite from end to end."""

import dataclasses
import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch as th
from stable_baselines3 import TD3

import sb3_spiking  # noqa: F401 (registers the policies)
from sb3_spiking.snn.execution import autograd

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are in the repository alone")


@pytest.fixture(autouse=True)
def siblings(monkeypatch):
    """Let benchmarks import each other, as they do when run as scripts."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def run(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(BENCHMARKS / script), run_name="__main__")


def test_ratios_are_taken_within_rounds():
    from timing import statistics

    # The machine is ten times as slow in the second round and twice as slow in the third.
    summed_up = statistics({"first": [1.0, 10.0, 2.0], "second": [3.0, 20.0, 10.0]})
    assert summed_up["first"].ratio == summed_up["first"].low == summed_up["first"].high == 1.0
    second = summed_up["second"]
    assert second.median == 10.0
    assert second.ratio == 3.0  # of 3, 2 and 5; the medians' ratio is 5
    assert (second.low, second.high) == (2.5, 4.0)


def test_rounds_alternate_and_warm_up_does_not_count():
    from timing import interleave

    calls = []

    def measure(name):
        calls.append(name)
        return float(len(calls))

    rounds = interleave({"a": lambda: measure("a"), "b": lambda: measure("b")}, repeats=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert rounds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_measurement_lasts_long_enough(monkeypatch):
    import timing

    now = [0.0]
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])

    def call():
        now[0] += 0.003

    measure = timing.Stopwatch(at_least=0.02).milliseconds_per_call(call)
    start = now[0]
    assert measure() == pytest.approx(3.0)
    assert now[0] - start >= 0.02


def test_a_gpu_is_waited_for(monkeypatch):
    import timing

    now, launched = [0.0], [0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def launch():
        launched[0] += 1

    def synchronize():
        now[0] += 0.005 * launched[0]
        launched[0] = 0

    monkeypatch.setattr(timing.th.cuda, "synchronize", synchronize)
    launch()  # what was under way before is not counted
    assert timing.Stopwatch("cuda").seconds(launch, times=2) == pytest.approx(0.01)


def test_the_published_loop_decides_and_learns_the_same():
    from implementations import OBSERVATIONS, make_actor

    observations = 2 * th.randn(32, OBSERVATIONS)
    ours, theirs = make_actor("spiking"), make_actor("published")
    theirs.load_state_dict(ours.state_dict())
    actions, wanted = theirs(observations), ours(observations)
    th.testing.assert_close(actions, wanted)
    actions.sum().backward()
    wanted.sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Autograd goes through the published encoder's reset, which makes 1.001 of some gradients.
        tolerance = 2e-3 if name.startswith("encoder") else 1e-5
        th.testing.assert_close(other.grad, one.grad, rtol=tolerance, atol=tolerance * one.grad.abs().max().item())


@pytest.mark.parametrize("name", ["plain", "nodes"])
def test_nodes_decide_and_learn_the_same_without_kernels(name, monkeypatch):
    from implementations import OBSERVATIONS, make_actor

    observations = 2 * th.randn(32, OBSERVATIONS)
    ours, theirs = make_actor("spiking"), make_actor(name)
    theirs.load_state_dict(ours.state_dict())
    wanted = ours(observations)
    wanted.sum().backward()
    monkeypatch.delattr(autograd, "run_layer")
    monkeypatch.delattr(autograd, "run_population")
    actions = theirs(observations)
    th.testing.assert_close(actions, wanted)  # sums run in another order
    actions.sum().backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        th.testing.assert_close(one.grad, other.grad)


def test_provenance_says_what_a_figure_depends_on():
    from provenance import PACKAGES, provenance

    source = provenance()
    assert source.keys() == {"versions", "commit", "machine", "threads", "date"}
    assert source["versions"].keys() == {"python", *PACKAGES}
    assert source["machine"].keys() == {"cpu", "cores", "os", "gpus"}
    assert source["threads"] == 1
    assert json.dumps(source)


def test_a_suite_from_the_command_line(monkeypatch, tmp_path, capsys):
    record = tmp_path / "cpu.json"
    record.write_text(json.dumps({"conversion": "an earlier run", "actor": "another suite"}))
    short = ("--repeats", 2, "--warm-up", 0, "--seconds", 0)
    run(monkeypatch, "speed.py", "conversion", *short, "--json", record)
    assert "1 observation" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [record]
    entries = json.loads(record.read_text())
    assert entries["actor"] == "another suite"
    entry = entries["conversion"]
    assert entry["unit"] == "ms"
    assert len(entry["commit"]) >= 40
    assert [case["name"] for case in entry["cases"]] == [
        f"CartPole, {count}" for count in ("1 observation", "8 observations", "64 observations")
    ]
    for case in entry["cases"]:
        assert list(case["rounds"]) == ["dqn", "ternary, T = 10", "few-spike, T = 16", "rate, T = 64"]
        assert all(len(figures) == 2 and min(figures) > 0 for figures in case["rounds"].values())
        assert case["statistics"]["dqn"]["ratio"] == 1.0
    record.write_text(json.dumps({"conversion": entry}))
    run(monkeypatch, "speed.py", "--summary", "--json", record)
    tables = capsys.readouterr().out
    # Fewer cases than implementations: these are the rows.
    assert "| ms | CartPole, 1 observation | CartPole, 8 observations | CartPole, 64 observations |" in tables
    assert "| ternary, T = 10 | " in tables


def test_costs_are_1_where_time_grows_with_the_work(monkeypatch, tmp_path, capsys):
    import speed
    from suites import Case

    def grow(watch):
        for size in (1, 2, 4):
            measures = {"mlp": lambda size=size: 3.0 * size, "spiking": lambda size=size: 2.0 * size**2}
            references = {"mlp": lambda: 3.0, "spiking": lambda: 2.0}
            yield Case(f"forward + backward, T = {size}", measures, references, {"mlp": size, "spiking": size})

    monkeypatch.setitem(speed.SUITES, "growth", dataclasses.replace(speed.SUITES["growth"], cases=grow))
    record = tmp_path / "cpu.json"
    run(monkeypatch, "speed.py", "growth", "--repeats", 2, "--json", record)
    capsys.readouterr()
    costs = [case["costs"] for case in json.loads(record.read_text())["growth"]["cases"]]
    assert [one["mlp"]["ratio"] for one in costs] == [1.0, 1.0, 1.0]
    assert [one["spiking"]["ratio"] for one in costs] == [1.0, 2.0, 4.0]
    run(monkeypatch, "speed.py", "--summary", "--json", record)
    tables = capsys.readouterr().out
    assert "| forward + backward, T = 4 | 12 | 32 (2.7x: 2.7-2.7) |" in tables
    assert "| forward + backward, T = 4 | 1.00 (1.00-1.00) | 4.00 (4.00-4.00) |" in tables


def test_an_unknown_suite_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "speed.py", "flying")
    assert "unknown suite flying; choose from td3-step" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "told"), [("import", "import cannot be measured on a GPU"), ("actor", "torch sees no GPU")]
)
def test_what_a_gpu_cannot_measure_is_refused(suite, told, monkeypatch, capsys):
    monkeypatch.setattr(th.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        run(monkeypatch, "speed.py", suite, "--device", "cuda")
    assert told in capsys.readouterr().err


def test_counted_messages_leave_torch_as_it_was(monkeypatch):
    import scaling

    monkeypatch.setattr(scaling.dist, "all_reduce", lambda tensor: tensor.add_(1))
    before, message = scaling.dist.all_reduce, th.zeros(3)
    with scaling.Collectives() as collectives:
        scaling.dist.all_reduce(message)
    assert (collectives.messages, collectives.bytes) == (1, 12)
    assert message.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ZeroDivisionError), collectives:
        raise ZeroDivisionError
    assert scaling.dist.all_reduce is before


def test_records_are_in_the_repository_wherever_a_benchmark_is_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("conversion", "health", "learning", "speed"):
        assert list(importlib.import_module(name).RECORDS.glob("*.json")), name


def test_conversion_tables_read_records_with_and_without_provenance(monkeypatch, tmp_path):
    import conversion

    monkeypatch.setattr(conversion, "RECORDS", tmp_path)
    path = tmp_path / "agreement-dqn.json"
    record = {"rate": {"4": [0.5, 0.7]}}
    path.write_text(json.dumps(record))
    without = conversion.summary()
    path.write_text(json.dumps({**record, "provenance": {"commit": "0"}}))
    assert conversion.summary() == without
    assert "| rate | 60.0 ± 10.0 |" in without


@pytest.mark.parametrize("name", ["membranes", "encoding"])
def test_the_pictures_of_the_documentation_are_drawn_from_an_agents_file(monkeypatch, tmp_path, name):
    pytest.importorskip("mujoco", reason="MuJoCo is an extra")
    model = TD3("PopSANPolicy", "InvertedPendulum-v5", policy_kwargs={"net_arch": [8]}, buffer_size=10, seed=0)
    model.save(tmp_path / "agent.zip")
    run(monkeypatch, "pictures.py", tmp_path / "agent.zip", "--out", tmp_path / "out", "--only", name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{name}.png"]


PAGE = """
```python
print("seed=0 of", dict(seed=0))
```

```text
stale

stale
```

Text.

```python
seed = 1
```

```text
not an output: the block prints nothing
```
"""


def test_what_a_tutorial_prints_replaces_its_outputs(tmp_path):
    from tutorials import renewed, run

    page = tmp_path / "page.md"
    page.write_text(PAGE)
    text = renewed(PAGE, run(page, [], None))
    assert text == PAGE.replace("stale\n\nstale", "seed=0 of {'seed': 0}")
    page.write_text(text)
    assert renewed(text, run(page, [], None)) == text


def test_a_tutorial_with_another_seed_leaves_the_page_as_it_is(tmp_path):
    from tutorials import run, with_seed

    page, folder = tmp_path / "page.md", tmp_path / "changed"
    page.write_text(PAGE)
    folder.mkdir()
    printed = run(with_seed(page, 7, folder), [], None)
    assert [output.text for output in printed] == ["seed=7 of {'seed': 7}\n", ""]
    assert page.read_text() == PAGE
