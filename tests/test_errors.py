"""Errors speak of arguments in Python, and the library knows no options."""

import ast
import re
from pathlib import Path

import pytest

import sb3_spiking
from sb3_spiking.conversion import convert
from sb3_spiking.errors import Argument, InputError
from tests.conversion.agents import dqn

LIBRARY = Path(sb3_spiking.__file__).parent
ROOMS = sorted(path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
OTHERS = ("cli", "zoo", "distributed")
"""Rooms that are about commands, or about another project's."""
ADVICE = r"sb3-spiking (convert|evaluate|inspect|watch|train|enjoy|info)\b"


def test_arguments_are_keywords():
    assert str(InputError("pass ", Argument("env"), " or ", Argument("frame_stack", 4))) == "pass env= or frame_stack=4"


def test_an_unknown_environment_is_named_as_it_was_given():
    with pytest.raises(ValueError, match=r"^env='CartPole-v9' is unknown; did you mean CartPole-v1"):
        convert(dqn(), env="CartPole-v9")


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in OTHERS])
def test_no_text_of_the_library_names_an_option_or_advises_a_command(room):
    for file in (*(LIBRARY / room).rglob("*.py"), *LIBRARY.glob(f"{room}.py")):
        tree = ast.parse(file.read_text())
        owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        docstrings = {ast.get_docstring(node, clean=False) for node in owners}
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        texts = [text for text in constants if isinstance(text, str)]
        assert not [text for text in texts if re.search(r"(^|\W)--[a-z]", text)], file
        assert not [text for text in texts if re.search(ADVICE, text) and text not in docstrings], file
