import io
import re
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch as th
from matplotlib import pyplot
from PIL import Image
from spikingjelly.activation_based import surrogate as sj
from stable_baselines3 import A2C, PPO, TD3
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sb3_spiking import SpikeFigureCallback, SpikeMonitorCallback
from sb3_spiking.callbacks import LayerHealth, SurrogateScheduleCallback, layer_health, spike_figures
from sb3_spiking.snn import PopulationRecord
from sb3_spiking.snn.execution.populations import run_neurons
from sb3_spiking.snn.surrogates import SURROGATES
from tests.conftest import Logged, TargetEnv, small_model


def with_layer(model, weight, bias):
    """Set the first hidden layer."""
    with th.no_grad():
        model.actor.mu.layers[0].synapses.weight.fill_(weight)
        model.actor.mu.layers[0].synapses.bias.fill_(bias)
    return model


def test_health_by_hand():
    # Three neurons over two steps and one decision: silent, always firing, firing once.
    spikes = th.tensor([[[0.0, 1.0, 0.0]], [[0.0, 1.0, 1.0]]])
    margin = th.tensor([[[-5.0, 0.1, -0.2]], [[-0.6, 9.0, 0.4]]])
    health = layer_health(PopulationRecord("hidden0", spikes, margin, surrogate_window=0.5))
    assert health == LayerHealth(rate=0.5, silent=pytest.approx(1 / 3), saturated=pytest.approx(1 / 3), window=0.5)
    assert health.diagnosis() is None


def test_logs_every_population(env):
    callback = Logged(log_freq=10)
    small_model(env).learn(60, callback=callback)
    populations = ("encoder", "hidden0", "hidden1", "output")
    assert set(callback.values) == {
        f"spikes/{name}_{quantity}" for name in populations for quantity in ("rate", "silent", "saturated", "window")
    } - {"spikes/encoder_window"}
    assert all(0 <= value <= 1 for value in callback.values.values())
    # SB3's console refuses keys that are equal after truncation to 36 characters.
    assert all(len(key) <= 33 for key in callback.values)


def test_before_the_first_gradient_step_and_with_several_environments():
    callback = Logged(log_freq=1)
    small_model(make_vec_env(TargetEnv, n_envs=2)).learn(4, callback=callback)
    assert callback.values


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [(0.0, -1.0, "hidden0 population is dead"), (0.0, 20.0, "hidden0 population is saturated")],
)
def test_warns_once_in_plain_words(env, weight, bias, message):
    model = with_layer(small_model(env), weight, bias)
    with pytest.warns(UserWarning, match=message) as caught:
        model.learn(200, callback=SpikeMonitorCallback(log_freq=20))
    assert len([warning for warning in caught if "hidden0" in str(warning.message)]) == 1


def test_membranes_outside_the_surrogates_window_are_told(env):
    model = small_model(env, policy_kwargs={"surrogate_kwargs": {"width": 1e-6}})
    with pytest.warns(UserWarning, match="surrogate's window"):
        model.learn(60, callback=SpikeMonitorCallback(log_freq=5))


def test_one_decision_is_no_evidence_of_a_dead_layer(env):
    # One step of one decision: most neurons are silent in it, and few over many decisions.
    kwargs = {"time_steps": 1, "net_arch": [256, 256]}
    model = small_model(env, policy="SpikingMlpPolicy", learning_starts=1000, policy_kwargs=kwargs)
    one = th.zeros(1, 3)
    healths = [layer_health(record) for record in model.policy.spiking_network.record(one).populations]
    assert any(health.diagnosis() for health in healths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(40, callback=SpikeMonitorCallback(log_freq=1))


def test_small_rollouts_add_up_to_a_diagnosis(env):
    # Of A2C a measurement sees five decisions of each environment at most.
    model = A2C("SpikingMlpPolicy", env, policy_kwargs={"net_arch": [8], "neuron_kwargs": {"threshold": 100.0}})
    with pytest.warns(UserWarning, match="hidden0 population is dead"):
        model.learn(200, callback=SpikeMonitorCallback(log_freq=5))


def test_a_healthy_agent_is_not_warned_about(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_model(env).learn(60, callback=SpikeMonitorCallback(log_freq=5))


@pytest.mark.parametrize("encoder", ["deterministic", "poisson"])
def test_a_watched_run_is_the_run_it_would_have_been(env, encoder):
    def train(callback):
        return small_model(env, policy_kwargs={"encoder": encoder}).learn(60, callback=callback).policy.state_dict()

    watched, alone = train(SpikeMonitorCallback(log_freq=7)), train(CallbackList([]))
    assert all(th.equal(watched[key], alone[key]) for key in watched)


def test_a_measurement_is_printed_as_one_readable_line(env, capsys):
    small_model(env).learn(30, callback=SpikeMonitorCallback(log_freq=10, verbose=1))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 10", "step 20", "step 30"]
    layer = r"[01]\.\d\d \(window [01]\.\d\d\)"
    for line in lines:
        assert re.fullmatch(rf"step \d+  encoder [01]\.\d\d  hidden0 {layer}  hidden1 {layer}  output {layer}", line)
        assert len(line) <= 120


def test_nothing_is_printed_unasked(env, capsys):
    small_model(env).learn(30, callback=SpikeMonitorCallback(log_freq=10))
    assert capsys.readouterr().out == ""


def test_nothing_is_hooked_into_the_network(env):
    model = small_model(env).learn(30, callback=SpikeMonitorCallback(log_freq=5))
    assert not any(module._forward_hooks for module in model.policy.modules())


def test_writes_to_tensorboard_and_csv(env, tmp_path):
    model = small_model(env)
    model.set_logger(configure(str(tmp_path), ["csv", "tensorboard"]))
    model.learn(60, callback=SpikeMonitorCallback(log_freq=5), log_interval=1)
    assert "spikes/hidden0_rate" in (tmp_path / "progress.csv").read_text()


@pytest.mark.parametrize("callback", [SpikeMonitorCallback, SpikeFigureCallback])
def test_an_actor_without_spikes_is_told(env, callback):
    with pytest.raises(ValueError, match=f"{callback.__name__} needs a spiking policy"):
        small_model(env, policy="MlpPolicy").learn(5, callback=callback())


def test_bad_frequencies_are_named():
    with pytest.raises(ValueError, match="log_freq=0"):
        SpikeMonitorCallback(log_freq=0)
    with pytest.raises(ValueError, match="draw_freq=0"):
        SpikeFigureCallback(draw_freq=0)


def drawn(folder):
    """Return the steps at which the event file holds each picture, and the pictures."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {tag: events.Images(tag) for tag in events.Tags()["images"]}


@pytest.mark.parametrize(
    ("algorithm", "policy_kwargs"), [(TD3, {}), (PPO, {}), (TD3, {"encoder": "direct"})], ids=["TD3", "PPO", "direct"]
)
def test_tensorboard_shows_figures_and_no_other_log_does(env, tmp_path, capsys, algorithm, policy_kwargs):
    settings = {"n_steps": 20, "batch_size": 10} if algorithm is PPO else {"learning_starts": 20, "batch_size": 16}
    model = algorithm("PopSANPolicy", env, policy_kwargs={"net_arch": [8], **policy_kwargs}, seed=0, **settings)
    model.set_logger(configure(str(tmp_path), ["stdout", "csv", "tensorboard"]))
    model.learn(60, callback=SpikeFigureCallback(draw_freq=10), log_interval=2)
    pictures = drawn(tmp_path)
    names = ["encoder_fields", "firing_rates", "raster"]
    assert sorted(pictures) == [f"spikes/{name}" for name in names[policy_kwargs == {"encoder": "direct"} :]]
    for shown in pictures.values():
        assert [event.step for event in shown] == ([40] if algorithm is PPO else [20, 40, 60])
        with Image.open(io.BytesIO(shown[-1].encoded_image_string)) as picture:
            assert len(picture.getcolors(10_000)) > 20  # something is drawn there
    assert "raster" not in (tmp_path / "progress.csv").read_text() + capsys.readouterr().out
    assert not pyplot.get_fignums()


def test_figures_of_fields_show_the_start_and_the_raster_stays_with_one_observation(env, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        spike_figures,
        "plot_receptive_fields",
        lambda part, ax, before: calls.append((part.mean.clone(), before.mean.clone())),
    )
    model = small_model(env)
    model.set_logger(configure(str(tmp_path), ["tensorboard"]))
    start = model.policy.spiking_network.encoder.mean.clone()
    callback = SpikeFigureCallback(draw_freq=30)
    model.learn(30, callback=callback)
    observation = callback._observation.clone()
    model.learn(30, callback=callback, reset_num_timesteps=False)
    assert th.equal(callback._observation, observation)
    now, before = calls[0]
    assert th.equal(before, start)
    assert not th.equal(now, start)


def test_nothing_is_drawn_without_tensorboard(env, tmp_path, monkeypatch):
    monkeypatch.setattr(SpikeFigureCallback, "_draw", lambda self: pytest.fail("drawn for nobody"))
    model = small_model(env)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(30, callback=SpikeFigureCallback(draw_freq=5))


def test_a_drawn_run_is_the_run_it_would_have_been(env, tmp_path):
    def train(callback):
        model = small_model(env, policy_kwargs={"encoder": "poisson"})
        model.set_logger(configure(str(tmp_path), ["tensorboard"]))
        return model.learn(40, callback=callback).policy.state_dict()

    watched, alone = train(SpikeFigureCallback(draw_freq=7)), train(CallbackList([]))
    assert all(th.equal(watched[key], alone[key]) for key in watched)


class Alphas(SurrogateScheduleCallback):
    """Keeps the steepness at each step."""

    def _on_training_start(self):
        super()._on_training_start()
        self.alphas = []

    def _on_step(self):
        super()._on_step()
        layers = self.model.policy.spiking_network.layers
        assert len({layer.neuron.surrogate_function.alpha for layer in layers}) == 1
        self.alphas.append(layers[0].neuron.surrogate_function.alpha)
        return True


def test_surrogate_changes_linearly_over_its_share_of_the_training(env):
    callback = Alphas(final=2.0, initial=1.0, fraction=0.5)
    small_model(env).learn(20, callback=callback)
    # Rect: alpha = 0.5 / width.
    widths = [0.5 / alpha for alpha in callback.alphas]
    assert widths == pytest.approx([1.0 + min(1.0, step / 10) for step in range(1, 21)])


def test_surrogate_starts_at_the_policys_own(env):
    callback = Alphas(final=8.0)
    policy_kwargs = {"surrogate": "atan", "surrogate_kwargs": {"slope": 4.0}}
    model = small_model(env, policy_kwargs=policy_kwargs).learn(4, callback=callback)
    assert callback.alphas == pytest.approx([5.0, 6.0, 7.0, 8.0])
    assert model.logger.name_to_value["spikes/surrogate_slope"] == 8.0


def test_surrogate_schedule_changes_gradients_and_no_spikes(env):
    model = small_model(env)
    layer = model.policy.spiking_network.layers[0]
    current = th.full((1, 1, 16), 0.5 + 0.7, requires_grad=True)

    def gradient():
        current.grad = None
        spikes = run_neurons(layer.neuron, current)
        spikes.sum().backward()
        return spikes.detach(), current.grad.clone()

    narrow = gradient()
    model.learn(1, callback=SurrogateScheduleCallback(final=1.0))
    wide = gradient()
    assert th.equal(narrow[0], wide[0])
    assert narrow[1].abs().sum() == 0  # 0.7 from the threshold, width 0.5
    assert wide[1].abs().sum() > 0


@dataclass(frozen=True)
class Leaky:
    """A surrogate of somebody else's, with two constants and no alpha."""

    slope: float = 2.0
    leak: float = 0.1
    name: ClassVar[str] = "leaky"

    def build(self):
        return sj.LeakyKReLU(k=self.slope, leak=self.leak)


@dataclass(frozen=True)
class Soft(Leaky):
    """The same with one constant."""

    leak: ClassVar[float] = 0.0
    name: ClassVar[str] = "soft"


def test_a_surrogate_with_two_constants_has_no_schedule(env, monkeypatch):
    monkeypatch.setitem(SURROGATES, "leaky", Leaky)
    model = small_model(env, policy_kwargs={"surrogate": "leaky"})
    with pytest.raises(ValueError, match="surrogate='leaky' has 2: slope, leak"):
        model.learn(4, callback=SurrogateScheduleCallback(final=1.0))


def test_somebody_elses_surrogate_has_a_schedule(env, monkeypatch):
    monkeypatch.setitem(SURROGATES, "soft", Soft)
    model = small_model(env, policy_kwargs={"surrogate": "soft"})
    model.learn(4, callback=SurrogateScheduleCallback(final=6.0))
    assert {layer.neuron.surrogate_function.k for layer in model.policy.spiking_network.layers} == {6.0}


def test_a_surrogate_put_into_a_layer_is_not_replaced(env):
    model = small_model(env)
    model.policy.spiking_network.layers[0].neuron.surrogate_function = sj.Erf()
    with pytest.raises(ValueError, match="hidden0 has Erf in its place"):
        model.learn(4, callback=SurrogateScheduleCallback(final=1.0))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"final": 0.0}, "final=0.0"),
        ({"final": 1.0, "initial": -1.0}, "initial=-1.0"),
        ({"final": 1.0, "fraction": 0.0}, "fraction=0.0"),
    ],
)
def test_bad_schedules_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SurrogateScheduleCallback(**kwargs)


def test_a_policy_without_spikes_has_no_surrogate(env):
    with pytest.raises(ValueError, match="SurrogateScheduleCallback needs a spiking policy"):
        small_model(env, policy="MlpPolicy").learn(5, callback=SurrogateScheduleCallback(1.0))
