"""The environment is found that a file's settings or its path names, and nothing of a stranger's is imported for it."""

import shutil
import sys
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces

from sb3_spiking.cli.environment import in_options
from sb3_spiking.environments.from_files import find_env
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.reading.checkpoint import read_checkpoint
from tests.envs import ATARI_SPACE, CARTPOLE, save_statistics
from tests.reference import zoo_agent

ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"


def zoo_run(folder, env_id, args=None, config=None, name=None):
    """Write a run's settings as rl_zoo3 2.9.2 does: ordered mappings with Python's tag."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with rl_zoo3")
    name = name or env_id.replace("/", "-")
    settings = folder / f"{name}_1" / name
    settings.mkdir(parents=True)
    args = {"algo": "dqn", "env": env_id, "env_kwargs": None, "gym_packages": [], **(args or {})}
    config = {"n_timesteps": 5e4, "policy": "MlpPolicy", "train_freq": (1, "step"), **(config or {})}
    for file, content in {"args.yml": args, "config.yml": config}.items():
        text = yaml.dump(OrderedDict(sorted(content.items())))
        assert text.startswith("!!python/object/apply:collections.OrderedDict")
        (settings / file).write_text(text)
    return settings


@pytest.mark.parametrize("file", ["CartPole-v1.zip", "best_model.zip", "rl_model_10000_steps.zip"])
@pytest.mark.parametrize("uuid", ["", "_0b3e9c7a-1234-4c3d-9e8f-001122334455"])
def test_a_run_of_rl_zoo3_tells_its_environment(tmp_path, file, uuid):
    run = zoo_run(tmp_path, "CartPole-v1", {"env_kwargs": {"sutton_barto_reward": True}}).parent
    run = run.rename(f"{run}{uuid}")
    found = find_env(run / file, *CARTPOLE)
    assert found.recipe == EnvRecipe("CartPole-v1", {"sutton_barto_reward": True})
    line = "args.yml names --env CartPole-v1 --env-kwargs '{\"sutton_barto_reward\": true}'"
    assert in_options(*found.parts).endswith(line)
    assert found.text.endswith("args.yml names env='CartPole-v1', kwargs={'sutton_barto_reward': True}")


def test_a_run_that_normalises_is_made_as_it_was(tmp_path):
    settings = zoo_run(tmp_path, "CartPole-v1", config={"normalize": True, "frame_stack": 2})
    path = save_statistics(settings / "vecnormalize.pkl")
    found = find_env(settings.parent / "best_model.zip", spaces.Box(-1, 1, (8,)), spaces.Discrete(2))
    assert found.recipe == EnvRecipe("CartPole-v1", frame_stack=2, vec_normalize=path)
    path.unlink()
    found = find_env(settings.parent / "best_model.zip", spaces.Box(-1, 1, (8,)), spaces.Discrete(2))
    assert found.recipe is None
    assert "says normalize, but there is no vecnormalize.pkl" in found.text


def test_a_download_from_the_hub_has_its_settings_beside_the_file(tmp_path):
    settings = zoo_run(tmp_path, "CartPole-v1")
    for file in settings.iterdir():
        shutil.move(file, tmp_path)
    path = save_statistics(tmp_path / "vec_normalize.pkl")
    found = find_env(tmp_path / "dqn-CartPole-v1.zip", *CARTPOLE)
    assert found.recipe == EnvRecipe("CartPole-v1", vec_normalize=path)


@pytest.mark.parametrize("env_id", ["PongNoFrameskip-v4", "ALE/Pong-v5"])
def test_a_run_on_atari_is_wrapped(tmp_path, env_id):
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    settings = zoo_run(tmp_path, env_id, config={"env_wrapper": [ATARI_WRAPPER], "frame_stack": 4})
    found = find_env(settings.with_suffix(".zip"), ATARI_SPACE, spaces.Discrete(6))
    assert found.recipe == EnvRecipe(env_id, atari=True, frame_stack=4)
    # The name alone tells as much, to those who know what 84 x 84 means.
    shutil.rmtree(settings)
    again = find_env(settings.with_suffix(".zip"), ATARI_SPACE, spaces.Discrete(6))
    assert again.recipe == found.recipe
    assert in_options(*again.parts).endswith(f"names --env {env_id} --atari --frame-stack 4")


@pytest.mark.parametrize("wrapper", ["my_wrappers.Shrink", {ATARI_WRAPPER: {"frame_skip": 1}}])
def test_a_wrapper_that_cannot_be_had_is_not_left_out(tmp_path, wrapper):
    settings = zoo_run(tmp_path, "CartPole-v1", config={"env_wrapper": [wrapper]})
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.recipe is None
    assert "config.yml wraps the environment in" in found.text


@pytest.mark.parametrize("tag", ["apply:os.system", "new:os.system", "name:os.system", "module:antigravity"])
@pytest.mark.parametrize("where", ["env", "env_kwargs", "something else", "alone"])
def test_hostile_settings_execute_nothing(tmp_path, tag, where):
    settings = zoo_run(tmp_path, "CartPole-v1")
    marker = tmp_path / "executed"
    tag = tag if tag.startswith(("name", "module")) else f"object/{tag}"
    value = "''" if tag.startswith(("name", "module")) else f"['touch {marker}']"
    entries = {"env": "CartPole-v1", where: f"!!python/{tag} {value}"}
    text = entries["alone"] if where == "alone" else "\n".join(f"{key}: {entry}" for key, entry in entries.items())
    (settings / "args.yml").write_text(text)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert (found.recipe is None) == (where != "something else")
    assert "\n" not in found.text
    assert not marker.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("env_id", "env_kwargs"), [("antigravity:Env-v0", {}), ("GymV21Environment-v0", {"env_id": "antigravity:Env-v0"})]
)
def test_settings_name_no_package_to_import(tmp_path, env_id, env_kwargs):
    settings = zoo_run(tmp_path, env_id, {"env_kwargs": env_kwargs}, name="Env-v0")
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.recipe is None
    assert f"{env_id!r}, not used; pass env=" in found.text
    assert "antigravity" not in sys.modules


def test_settings_do_not_write_to_the_terminal(tmp_path):
    settings = zoo_run(tmp_path, "Cart\x1b[2JPole\n-v1", name="Env-v0")
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.recipe is None
    assert found.text.isprintable()


@pytest.mark.parametrize("text", ["a: [", "just text", "!unknown 1", "\x00", "a: &a [1]\nb: [*a, *a]"])
def test_broken_settings_are_named(tmp_path, text):
    settings = zoo_run(tmp_path, "CartPole-v1")
    (settings / "config.yml").write_text(text)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.recipe is None
    assert "config.yml" in found.text


def test_settings_without_yaml_are_not_passed_over(tmp_path, monkeypatch):
    settings = zoo_run(tmp_path, "CartPole-v1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.recipe is None
    assert "pip install pyyaml" in found.text


@pytest.mark.parametrize(
    ("path", "env_id"),
    [
        ("dqn-CartPole-v1.zip", "CartPole-v1"),
        ("logs/dqn/CartPole-v1_3/best_model.zip", "CartPole-v1"),
        ("dqn_CartPole-v1_lr1e-3.zip", "CartPole-v1"),
        ("CartPole-v1/final.zip", "CartPole-v1"),
        ("Acrobot-v1/dqn-CartPole-v1.zip", "CartPole-v1"),
        ("CartPole-v1/dqn-Acrobot-v1.zip", "CartPole-v1"),
    ],
)
def test_a_path_names_its_environment(tmp_path, path, env_id):
    found = find_env(tmp_path / path, *CARTPOLE)
    assert found.recipe == EnvRecipe(env_id)
    assert in_options(*found.parts).endswith(f" names --env {env_id}")


@pytest.mark.parametrize(
    "path", ["MyCartPole-v12.zip", "MyCartPole-v1.zip", "dqn.zip", "CartPole-v1x.zip", "model-v1.zip"]
)
def test_parts_of_words_name_nothing(tmp_path, path):
    assert find_env(tmp_path / path, *CARTPOLE) is None


def test_the_longest_id_counts(tmp_path):
    found = find_env(tmp_path / "FrozenLake-v1-FrozenLake8x8-v1.zip", spaces.Discrete(64), spaces.Discrete(4))
    assert found.recipe == EnvRecipe("FrozenLake8x8-v1")


def test_minatar_is_found(tmp_path):
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    images = spaces.Box(0, 255, (4, 10, 10), np.uint8)
    found = find_env(tmp_path / "dqn-minatar-breakout.zip", images, spaces.Discrete(3))
    assert found.recipe == EnvRecipe("minatar-breakout")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "dqn-Acrobot-v1.zip",
            "--env does not fit the agent: it observes Box(6,) of float, the agent Box(4,) of float",
        ),
        ("dqn-CartPole-v2.zip", "--env CartPole-v2 is unknown; did you mean CartPole-v1"),
        ("dqn-LunarLander-v2.zip", "Please use `LunarLander-v3` instead"),
    ],
)
def test_what_does_not_fit_is_told_and_not_used(tmp_path, name, why):
    found = find_env(tmp_path / name, *CARTPOLE)
    assert found.recipe is None
    told = in_options(*found.parts)
    assert told.startswith(f"{name} names --env {name[4:-4]}, not used: ")
    assert why in told
    assert found.text.startswith(f"{name} names env='{name[4:-4]}', not used: ")
    assert "--" not in found.text


@pytest.mark.parametrize("name", ["dqn-CartPole-v1", "others/dqn-CartPole-v1", "others/dqn-Acrobot-v1"])
def test_old_agents_find_their_environment(name):
    """Their spaces have the bounds of gym, which are not quite those of gymnasium."""
    path = zoo_agent(name)
    agent, env_id = read_checkpoint(path), path.stem.split("-", 1)[1]
    assert find_env(path, agent.observation_space, agent.action_space).recipe == EnvRecipe(env_id)
