"""Errors speak of arguments in Python, and the library knows no options."""

import ast
import re
from pathlib import Path

import pytest

import sb3_spiking
from sb3_spiking.conversion import convert
from sb3_spiking.errors import Argument, InputError
from tests.conversion.agents import dqn

ROOMS = (
    "callbacks",
    "conversion",
    "environments",
    "evaluation",
    "optimizers",
    "plotting",
    "policies",
    "reading",
    "snn",
)


def test_arguments_are_keywords():
    assert str(InputError("pass ", Argument("env"), " or ", Argument("frame_stack", 4))) == "pass env= or frame_stack=4"


def test_an_unknown_environment_is_named_as_it_was_given():
    with pytest.raises(ValueError, match=r"^env='CartPole-v9' is unknown; did you mean CartPole-v1"):
        convert(dqn(), env="CartPole-v9")


@pytest.mark.parametrize("room", ROOMS)
def test_no_text_of_the_library_names_an_option(room):
    for file in (Path(sb3_spiking.__file__).parent / room).rglob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
        named = [text for text in texts if isinstance(text, str) and re.search(r"(^|\W)--[a-z]", text)]
        assert not named, file
