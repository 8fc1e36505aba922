"""The code of the documentation runs as it is printed, with a smaller budget."""

import inspect
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.off_policy import SpikingActorPolicy
from sb3_spiking.policies.td3 import SpikingTD3Policy
from sb3_spiking.policies.value import SpikingValuePolicy
from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES
from tests.reader import extras_of, readers_packages

DOCS = Path(__file__).parents[1] / "docs"
INCLUDED = "--8<--"
"""A block that holds an example's file; test_examples.py runs it."""


def blocks(page):
    """Return the page's Python blocks; they share their names, as a reader's would."""
    document = Document.parse(str(page), PythonCodeBlockParser())
    return [block for block in document.examples() if INCLUDED not in str(block.parsed)]


PAGES = [page for page in sorted([*DOCS.glob("*.md"), *DOCS.glob("api/*.md")]) if blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_the_page_runs(page, short_training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with readers_packages(page.read_text()):
        for block in blocks(page):
            block.evaluate()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_a_film_of_cartpole_needs_what_the_page_names(page):
    text = page.read_text()
    assert "classic-control" in extras_of(text) or not re.search(r"sb3-spiking evaluate \S+ --video", text)


def test_code_that_went_stale_is_found(tmp_path):
    page = tmp_path / "stale.md"
    page.write_text("Text.\n\n```python\nimport sb3_spiking\n\nsb3_spiking.gone\n```\n")
    (block,) = blocks(page)
    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        block.evaluate()


def rows(page):
    """Return the rows of the page's tables whose first cell is code, as lists of cells."""
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]


def test_every_argument_is_described_with_its_default():
    described = {row[0].strip("`"): row[1].split("`")[1] for row in rows("arguments.md") if len(row) == 4}
    defaults = {field.name: field.default for field in fields(SpikingOptions)}
    for policy in (SpikingPolicy, SpikingActorPolicy, SpikingTD3Policy, SpikingValuePolicy):
        parameters = inspect.signature(policy.__init__).parameters.values()
        defaults |= {each.name: each.default for each in parameters if each.default is not each.empty}
    assert {name: eval(text, {"sqrt": math.sqrt}) for name, text in described.items()} == defaults


def test_every_constant_is_described_with_its_default():
    described = {row[0].strip('`"'): row[2] for row in rows("arguments.md") if row[0].startswith('`"')}
    constants = {
        name: ", ".join(f"`{field.name}={field.default!r}`" for field in fields(option)).replace("'", '"')
        for name, option in {**NEURONS, **SURROGATES}.items()
    }
    assert {name: sorted(text.split(", ")) for name, text in described.items()} == {
        name: sorted(text.split(", ")) for name, text in constants.items()
    }
