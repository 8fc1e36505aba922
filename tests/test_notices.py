"""Warnings point at the user's line."""

import ast
import linecache
import warnings
from pathlib import Path

import pytest
import torch as th
from stable_baselines3 import PPO

import sb3_spiking
from sb3_spiking import notices
from sb3_spiking.notices import warn
from sb3_spiking.snn import precisions
from sb3_spiking.snn.execution import backends
from tests.conftest import TargetEnv, small_model


def shown(caught, text):
    """Return the source line at which the one warning with this text is shown."""
    (warning,) = [warning for warning in caught if text in str(warning.message)]
    return linecache.getline(warning.filename, warning.lineno).strip()


def calls_of_warnings(source):
    """Return the functions of Python's ``warnings`` that warn, as the source calls or imports them."""
    nodes = list(ast.walk(ast.parse(source)))
    modules = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "warnings"
    }
    imported = [
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "warnings"
        for alias in node.names
    ]
    used = [node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules]
    return sorted({"warn", "warn_explicit", "*"} & {*imported, *used})


def test_no_module_of_the_package_warns_by_itself():
    package = Path(sb3_spiking.__file__).parent
    warning = {str(path.relative_to(package)): calls_of_warnings(path.read_text()) for path in package.rglob("*.py")}
    assert {name: calls for name, calls in warning.items() if calls} == {"notices.py": ["warn_explicit"]}


@pytest.mark.parametrize(
    "source",
    [
        "import warnings\nwarnings.warn('')",
        "import warnings as w\nw.warn_explicit('')",
        "from warnings import warn",
        "def f():\n    from warnings import warn as say",
        "import warnings\nsay = warnings.warn",
        "from warnings import *",
    ],
)
def test_every_way_to_warn_is_seen(source):
    assert calls_of_warnings(source)
    assert not calls_of_warnings("import warnings\nfrom sb3_spiking.notices import warn\nwarnings.catch_warnings()")


def test_a_monitors_warning_points_at_the_line_that_trains(env):
    model = small_model(env)
    with th.no_grad():
        model.actor.mu.layers[0].synapses.weight.zero_()
        model.actor.mu.layers[0].synapses.bias.fill_(-1.0)
    with pytest.warns(UserWarning, match="hidden0 population is dead") as caught:
        model.learn(60, callback=sb3_spiking.SpikeMonitorCallback(log_freq=10))  # here
    assert shown(caught, "hidden0").endswith("# here")


def test_a_warning_while_sb3_trains_points_at_the_line_that_trains():
    model = small_model(TargetEnv(), batch_size=64, learning_starts=10)
    normalized = th.randn(64, 3)
    normalized = (normalized - normalized.mean(dim=0)) / normalized.std(dim=0)
    model.learn(10)
    sample = model.replay_buffer.sample
    model.replay_buffer.sample = lambda *args, **kwargs: sample(*args, **kwargs)._replace(observations=normalized)
    with pytest.warns(UserWarning, match="mean 0 and variance 1") as caught:
        model.learn(2, reset_num_timesteps=False)  # here
    assert shown(caught, "mean 0 and variance 1").endswith("# here")


def test_a_warning_of_a_constructor_points_at_the_line_that_constructs(env):
    with pytest.warns(UserWarning, match="poisson") as caught:
        PPO("PopSANPolicy", env, policy_kwargs={"encoder": "poisson"})  # here
    assert shown(caught, "encoder='poisson'").endswith("# here")


def test_a_warning_of_the_network_points_at_the_line_that_runs_it(monkeypatch):
    monkeypatch.setattr(precisions, "has_bfloat16", lambda: False)
    notices.warn_once.cache_clear()
    network = sb3_spiking.snn.SpikingNetwork(3, 1, [4], sb3_spiking.snn.SpikingOptions(precision="bfloat16"))
    with pytest.warns(UserWarning, match="bfloat16") as caught:
        network(th.zeros(1, 3)).sum().backward()  # here
    notices.warn_once.cache_clear()
    assert shown(caught, "precision='bfloat16'").endswith("# here")


def test_a_warning_of_the_gpus_kernels_points_at_the_line_that_asks(monkeypatch):
    from sb3_spiking.snn.execution import triton_loops as gpu

    def fails(_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(gpu, "try_out", fails)
    backends.gpu_problem.cache_clear()
    with pytest.warns(UserWarning, match="no compiler") as caught:
        backends.gpu_problem()  # here
    backends.gpu_problem.cache_clear()
    assert shown(caught, "no compiler").endswith("# here")


def test_a_program_without_a_line_of_its_own_is_warned_all_the_same():
    # As `python -m sb3_spiking` is one: all of its frames are libraries'.
    scope = {"__name__": "sb3_spiking.somewhere", "warn": warn}
    with pytest.warns(UserWarning, match="heard"):
        exec("warn('heard')", scope)


def test_the_same_line_is_warned_once_by_default_and_filters_see_the_users_module():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("again")
    assert len(caught) == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", module=__name__)
        warn("ignored")
    assert not caught
