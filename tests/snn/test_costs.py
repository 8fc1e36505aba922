import dataclasses
import json
from contextlib import suppress

import pytest
import torch as th

from sb3_spiking.snn.execution import costs
from sb3_spiking.snn.execution.cost_measurement import machine, measure
from sb3_spiking.snn.execution.costs import DEFAULTS, Costs, are_measured, prepare

OTHER = Costs(dense=0.03, rounded=0.01, spike=0.05, gradient=0.06, look=0.5, entry=1.0, transposition=1.0)


def this_machine():
    return "this machine"


def another_machine():
    return "another machine"


@pytest.fixture(autouse=True)
def unknown(monkeypatch):
    """Forget what this process knows of its machine."""
    monkeypatch.setattr(costs, "_KNOWN", [])


def refuse():
    raise AssertionError("measured again")


def test_the_density_of_equal_costs_by_hand():
    # 1000 rows of 100 inputs and 10 neurons: dense 1e6 units; a look costs 2 for each input, a transposition 5 for each
    # weight, a spike 10 and 4 for each neuron: 1e6 = 2e5 + 5e3 + density * (1e6 + 4e6).
    by_hand = Costs(dense=1.0, rounded=0.5, spike=4.0, gradient=2.0, look=2.0, entry=10.0, transposition=5.0)
    assert by_hand.largest_density(rows=1000, neurons=10) == pytest.approx(0.159)
    assert by_hand.largest_density(rows=1000, neurons=10, rounded=True) == pytest.approx(0.059)
    assert by_hand.largest_gradient_density() == 0.5
    assert by_hand.largest_gradient_density(rounded=True) == 0.25


def test_few_rows_never_pay_for_a_transposition():
    assert DEFAULTS.largest_density(rows=1, neurons=256) < 0.0


def test_costs_are_the_defaults_where_no_folder_can_be_written():
    prepare(None, this_machine, refuse)
    assert costs.costs() is DEFAULTS
    assert not are_measured()


def test_costs_are_measured_once_on_a_machine_and_read_afterwards(tmp_path, monkeypatch):
    prepare(tmp_path, this_machine, lambda: OTHER)
    assert costs.costs() == OTHER
    assert are_measured()
    monkeypatch.setattr(costs, "_KNOWN", [])
    prepare(tmp_path, this_machine, refuse)
    assert costs.costs() == OTHER


def test_another_processor_or_another_version_measures_anew(tmp_path, monkeypatch):
    prepare(tmp_path, this_machine, lambda: OTHER)
    monkeypatch.setattr(costs, "_KNOWN", [])
    prepare(tmp_path, another_machine, lambda: DEFAULTS)
    assert costs.costs() == DEFAULTS


def test_costs_never_change_within_a_process(tmp_path):
    prepare(tmp_path, this_machine, lambda: OTHER)
    prepare(tmp_path, another_machine, refuse)
    prepare(None, this_machine, refuse)
    assert costs.costs() == OTHER


def test_processes_that_measure_at_once_choose_alike(tmp_path):
    def measure_while_another_one_finishes():
        (path,) = written
        path.write_text(json.dumps(dataclasses.asdict(OTHER)))
        return DEFAULTS

    prepare(tmp_path, this_machine, lambda: OTHER)
    written = list(tmp_path.iterdir())
    written[0].unlink()
    costs._KNOWN.clear()
    prepare(tmp_path, this_machine, measure_while_another_one_finishes)
    assert costs.costs() == OTHER
    assert list(tmp_path.iterdir()) == written


@pytest.mark.parametrize("content", ["", "{}", '{"dense": 1}', "[1, 2]", '{"dense": NaN}', "\0" * 100])
def test_a_damaged_file_is_measured_anew(tmp_path, content):
    prepare(tmp_path, this_machine, lambda: DEFAULTS)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    costs._KNOWN.clear()
    prepare(tmp_path, this_machine, lambda: OTHER)
    assert costs.costs() == OTHER


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e6, 1, 1e-6])
def test_impossible_costs_are_not_believed(value):
    with pytest.raises(ValueError, match="spike"):
        dataclasses.replace(DEFAULTS, spike=value)


def test_a_clock_that_stands_still_leaves_the_defaults(tmp_path):
    prepare(tmp_path, this_machine, lambda: dataclasses.replace(DEFAULTS, dense=0.0))
    assert costs.costs() == DEFAULTS
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_draws_no_random_numbers():
    before = th.get_rng_state()
    with suppress(ValueError):  # impossible costs, on a machine that is busy meanwhile
        assert isinstance(measure(), Costs)
    assert th.equal(th.get_rng_state(), before)


def test_a_default_of_float64_does_not_matter():
    th.set_default_dtype(th.float64)
    try:
        with suppress(ValueError):
            assert isinstance(measure(), Costs)
    finally:
        th.set_default_dtype(th.float32)


def test_a_file_system_without_links_keeps_costs_too(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr("os.link", refused)
    prepare(tmp_path, this_machine, lambda: OTHER)
    assert costs.costs() == OTHER
    assert len(list(tmp_path.iterdir())) == 1


def test_the_description_of_a_machine_is_the_same_each_time():
    assert machine() == machine()
