"""The page of each policy lists every argument that the policy takes."""

import dataclasses
import re
from pathlib import Path

import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3

from docs_hooks.policy_arguments import argument_list, on_page_markdown
from sb3_spiking.policies.presets import NAMES
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.snn import SpikingOptions
from tests.envs import AnyEnv

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {path: path.read_text() for path in sorted((DOCS / "api").glob("*-policy.md"))}
SPACES = {
    "PopSANPolicy": spaces.Box(-1.0, 1.0, (3,)),
    "SpikingMlpPolicy": spaces.Box(-1.0, 1.0, (3,)),
    "SpikingCnnPolicy": spaces.Box(0, 255, (1, 12, 12), "uint8"),
    "SpikingMultiInputPolicy": spaces.Dict(joints=spaces.Box(-1.0, 1.0, (3,))),
}


def listed(name):
    """Return the arguments on the page of a policy, with the line that has type and default."""
    return dict(re.findall(r"^`(\w+)`\n:   (.*)<br>$", argument_list(name), re.M))


def test_every_policy_has_a_page():
    assert sorted(re.findall(r"<!-- arguments: (\w+) -->", "".join(PAGES.values()))) == sorted(NAMES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_mark_is_left_on_a_page(page):
    assert "<!--" in PAGES[page]
    assert "<!--" not in on_page_markdown(PAGES[page])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("algorithm", [TD3, SAC, PPO, DQN])
def test_what_a_saved_policy_needs_is_listed(algorithm, name):
    actions = spaces.Discrete(2) if algorithm is DQN else spaces.Box(-1.0, 1.0, (2,))
    buffer = {} if algorithm is PPO else {"buffer_size": 1}
    policy = algorithm(name, AnyEnv(SPACES[name], actions), device="cpu", **buffer).policy
    saved = set(policy._get_constructor_parameters())
    given = {"observation_space", "action_space", "lr_schedule"}
    # SB3 saves dist_kwargs, which its constructor does not take.
    assert saved - given - {"dist_kwargs"} - set(listed(name)) == set()


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_the_policy(name):
    arguments = listed(name)
    preset = TD3.policy_aliases[name].preset
    assert {field.name for field in dataclasses.fields(SpikingOptions)} <= set(arguments)
    assert f"`int`, default `{preset.time_steps}`." in arguments["time_steps"]
    assert f'default `"{preset.encoder}"`' in arguments["encoder"]
    assert f'default `"{preset.membrane_norm}"`' in arguments["membrane_norm"]


def test_an_argument_of_some_algorithms_says_so():
    arguments = listed("PopSANPolicy")
    assert "QRDQN" in arguments["common_mode_correction"] or "DQN only" in arguments["common_mode_correction"]
    assert "Not for DQN" in arguments["actor_lr_scale"]
    assert "(DQN" in arguments["decoder_population"]


def test_every_argument_has_a_meaning():
    assert len(ALGORITHMS) >= 6
    for name in NAMES:
        assert re.findall(r"<br>\n\s*$", argument_list(name), re.M) == []
