"""What ``import sb3_spiking`` does to a process."""

import os
import subprocess
import sys


def run(script, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)


def test_prints_nothing_and_leaves_the_heavy_packages_alone():
    script = """
import sys
import stable_baselines3
before = set(sys.modules)
import sb3_spiking
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(new & {"numba", "torchvision", "torchaudio", "rl_zoo3", "minatar", "rich", "pandas", "sb3_spiking_cli"}))
lazy = ("sb3_spiking.conversion", "sb3_spiking.cli", "matplotlib.pyplot")
print(*[name for name in lazy if name in sys.modules and name not in before], end="")
"""
    result = run(script)
    assert result.stdout.strip() == ""
    assert result.stderr == ""


def test_training_prints_nothing():
    script = """
import gymnasium as gym
from stable_baselines3 import TD3
import sb3_spiking
import torch as th
from sb3_spiking.snn import neurons
from sb3_spiking.snn.execution.populations import run_neurons
th.set_num_threads(1)  # of the default number, which is slow here, the user is told
model = TD3("PopSANPolicy", gym.make("Pendulum-v1"), learning_starts=10, policy_kwargs=dict(net_arch=[8]))
model.learn(20)
for name, neuron in neurons.NEURONS.items():  # SpikingJelly's own path logs that there is no Triton
    from sb3_spiking.snn.surrogates import ATan
    node = neuron().build(ATan())
    node.register_forward_hook(lambda *_: None)
    run_neurons(node, th.randn(3, 2, 4, requires_grad=True)).sum().backward()
"""
    result = run(script)
    assert result.stdout == ""
    assert result.stderr == ""


def test_kernels_work_where_nothing_can_be_cached():
    script = (
        "import torch as th; from sb3_spiking.snn import SpikingNetwork; "
        "SpikingNetwork(2, 1, (4,))(th.zeros(1, 2)).sum().backward()"
    )
    # A locator for packages inside zip files finds no place for this one.
    result = run(script, NUMBA_CACHE_LOCATOR_CLASSES="ZipCacheLocator")
    assert result.stderr == ""
