"""Which populations are called unhealthy: broken ones are, those of recorded agents that work are not."""

import json
import re
from pathlib import Path

import pytest
import torch as th

from sb3_spiking.callbacks import LayerHealth, layer_health
from sb3_spiking.snn import SpikingOptions
from tests.conftest import popsan

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORDS = [json.loads(path.read_text()) for path in sorted((DOCS / "data" / "health").glob("*.json"))]
WORKING = [record for record in RECORDS if record["reached"] >= record["works_from"]]


def test_there_is_evidence_from_several_algorithms_and_networks():
    assert len(WORKING) >= 12
    assert len({record["task"]["algorithm"] for record in WORKING}) >= 3
    assert len({record["policy"] for record in WORKING}) >= 3


def test_the_documented_ranges_are_those_of_the_agents_that_work():
    measurements = [measurement for record in WORKING for measurement in record["measurements"]]
    healths = [health for measurement in measurements for health in measurement["populations"].values()]
    healths = [health for health in healths if health["window"] is not None]
    page = (DOCS / "pitfalls.md").read_text()
    for quantity, extremes in {"rate": (min, max), "silent": (max,), "saturated": (max,), "window": (min,)}.items():
        (row,) = re.findall(rf"^\| `{quantity}` \| ([^|]*) \|", page, re.MULTILINE)
        said = [float(number) for number in re.findall(r"\d\.\d+", row)]
        # Rounded outwards.
        found = [extreme(health[quantity] for health in healths) for extreme in extremes]
        assert said == pytest.approx(found, abs=0.01), quantity
    assert f"the extremes over {len(WORKING)} of them" in page


@pytest.mark.parametrize("record", WORKING, ids=lambda record: record["name"])
def test_no_population_of_an_agent_that_works_is_called_unhealthy(record):
    for measurement in record["measurements"]:
        for name, health in measurement["populations"].items():
            if health["window"] is not None:
                assert LayerHealth(**health).diagnosis() is None, (name, measurement["step"], health)


@pytest.mark.parametrize("neuron", ["cuba_lif", "lif", "plif", "if"])
@pytest.mark.parametrize("layer", [0, 1, 2], ids=["hidden0", "hidden1", "output"])
@pytest.mark.parametrize(
    ("scale", "shift", "diagnosis"),
    [(1.0, -50.0, "is dead"), (1.0, 50.0, "is saturated"), (1e4, 0.0, "cannot learn")],
    ids=["dead", "saturated", "outside"],
)
def test_a_broken_population_is_called_what_it_is(neuron, layer, scale, shift, diagnosis):
    network = popsan(17, 6, options=SpikingOptions(neuron=neuron))
    observations = th.randn(64, 17)
    healthy = layer_health(network.record(observations).populations[1 + layer])
    assert healthy.diagnosis() is None, healthy
    with th.no_grad():
        network.layers[layer].synapses.weight *= scale
        network.layers[layer].synapses.bias.copy_(network.layers[layer].synapses.bias * scale + shift)
    found = layer_health(network.record(observations).populations[1 + layer])
    assert found.diagnosis().startswith(diagnosis), found
