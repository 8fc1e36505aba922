"""The neuron with an adaptive threshold: by hand, in kernels, in pictures, in a policy."""

import pytest
import torch as th
from matplotlib.figure import Figure
from stable_baselines3 import TD3

from sb3_spiking import SpikeMonitorCallback
from sb3_spiking.plotting import plot_membranes, plot_spike_raster
from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.neurons import AdaptiveLif
from sb3_spiking.snn.operations import cost_of
from sb3_spiking.snn.surrogates import Rect
from tests.envs import TargetEnv

CONSTANTS = {"threshold": 0.5, "membrane_decay": 0.5, "adaptation_decay": 0.5, "adaptation_step": 0.25}


def test_the_threshold_rises_with_each_spike_and_decays():
    # h: 0.6 fires; 0.6 < 0.75 does not; 0.3 + 0.6 = 0.9 > 0.625 fires; 0.6 < 0.8125 does not
    node = AdaptiveLif(**CONSTANTS).build(Rect())
    spikes, margin = record_neurons(node, th.full((4, 1, 1), 0.6))
    assert spikes.flatten().tolist() == [1.0, 0.0, 1.0, 0.0]
    a = [0.0, 0.25, 0.125, 0.3125]
    th.testing.assert_close(margin.flatten(), th.tensor([0.6, 0.6, 0.9, 0.6]) - 0.5 - th.tensor(a))


def test_a_soft_reset_subtracts_the_threshold_with_its_rise():
    node = AdaptiveLif(reset="soft", **CONSTANTS).build(Rect())
    # h: 1.0 fires, 0.5 is left; 0.25 + 1.0 = 1.25 >= 0.75 fires, 0.5 is left; 0.25 + 1.0 >= 0.875 fires
    spikes, margin = record_neurons(node, th.full((3, 1, 1), 1.0))
    assert spikes.flatten().tolist() == [1.0, 1.0, 1.0]
    th.testing.assert_close(margin.flatten(), th.tensor([0.5, 0.5, 1.25 - 0.875]))


def test_the_gradient_of_the_threshold_by_hand():
    # Two steps; the first spike raises the threshold of the second, and resets its membrane.
    node = AdaptiveLif(**CONSTANTS).build(Rect(width=2.0))
    current = th.tensor([0.6, 0.6], dtype=th.float64).reshape(2, 1, 1).requires_grad_()
    run_neurons(node, current)[1].sum().backward()
    slope = 0.25
    # ds1/dx1 = slope; ds1/dx0 = slope (dh1/dv0 dv0/dh0 - da1/ds0 ds0/dh0), v0 = h0 (1 - s0)
    through_reset = 0.5 * ((1.0 - 1.0) - 0.6 * slope)
    th.testing.assert_close(current.grad.flatten(), slope * th.tensor([through_reset - 0.25 * slope, 1.0]).double())


def test_without_adaptation_it_is_a_leaky_integrator():
    current = th.randn(9, 4, 30)
    adaptive = AdaptiveLif(threshold=0.5, membrane_decay=0.75, adaptation_step=0.0).build(Rect())
    spikes, v = [], th.zeros(4, 30)
    for x in current:
        h = v * 0.75 + x
        spikes.append((h >= 0.5).float())
        v = h * (1.0 - spikes[-1])
    assert th.equal(run_neurons(adaptive, current), th.stack(spikes))


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_policy_of_adaptive_neurons_trains_is_watched_and_drawn(reset, tmp_path):
    options = {"neuron": "alif", "neuron_kwargs": {"reset": reset}, "net_arch": [16]}
    model = TD3("PopSANPolicy", TargetEnv(), policy_kwargs=options, learning_starts=20, seed=0)
    model.learn(40, callback=SpikeMonitorCallback(log_freq=10))
    recording = model.policy.spiking_network.record(th.randn(5, 3))
    assert cost_of(recording).synops > 0
    for plot in (plot_spike_raster, plot_membranes):
        plot(recording, ax=Figure().add_subplot())
    model.save(tmp_path / "agent.zip")
    observation = model.observation_space.sample()
    loaded = TD3.load(tmp_path / "agent.zip")
    assert (loaded.predict(observation)[0] == model.predict(observation)[0]).all()


def test_a_network_of_adaptive_neurons_decides_alike_for_few_and_many():
    network = SpikingNetwork(3, 2, (16, 16), SpikingOptions(neuron="alif"))
    features = th.randn(4, 3)
    with th.no_grad():
        few = network(features)
    th.testing.assert_close(few, network(features).detach())


@pytest.mark.parametrize(
    ("constant", "value"),
    [("adaptation_step", -0.1), ("adaptation_step", float("nan")), ("adaptation_decay", 1.0), ("membrane_decay", -0.1)],
)
def test_constants_out_of_range_are_refused(constant, value):
    with pytest.raises(ValueError, match=constant):
        AdaptiveLif(**{constant: value})
