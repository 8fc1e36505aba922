import sys
from types import SimpleNamespace

import pytest
import torch as th
from stable_baselines3 import PPO

from sb3_spiking.callbacks import training_energy
from sb3_spiking.callbacks.training_energy import TrainingEnergy, TrainingEnergyCallback


def train(callback, model=None):
    model = model or PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1)
    return model.learn(64, callback, reset_num_timesteps=False)


def test_time_without_a_power_is_no_energy(capsys):
    callback = TrainingEnergyCallback()
    train(callback)
    assert callback.result.steps == 64
    assert callback.result.cpu_seconds > 0
    assert callback.result.joules is callback.result.steps_per_joule is None
    assert "64 steps" in capsys.readouterr().out


def test_joules_are_the_processors_time_multiplied_by_its_power(monkeypatch):
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(training_energy.time, "process_time", lambda: next(clock))
    callback = TrainingEnergyCallback(cpu_watts=8.0, verbose=0)
    train(callback)
    assert callback.result.cpu_joules == callback.result.joules == 32.0
    assert callback.result.steps_per_joule == 2.0


def test_a_second_run_counts_anew():
    callback = TrainingEnergyCallback(verbose=0)
    train(callback, train(callback))
    assert callback.result.steps == 64


def test_the_gpu_is_asked_in_millijoules_by_its_uuid(monkeypatch):
    asked = []
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "handle",
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 2500,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(th.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-34"))
    assert training_energy._gpu_counter(th.device("cuda"))() == 2.5
    assert asked == ["GPU-12-34"]


def test_the_sum_says_what_was_counted():
    assert str(TrainingEnergy(100, 5.0, 50.0, 200.0)) == (
        "100 steps, 5.0 s of CPU, 50 J of CPU, 200 J of GPU, 0.4 steps per joule"
    )


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan")])
def test_a_power_must_be_positive(watts):
    with pytest.raises(ValueError, match="cpu_watts"):
        TrainingEnergyCallback(cpu_watts=watts)
