"""The tables of the documentation are those that the benchmarks print of their records."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def rows(text):
    """Return the rows of the Markdown tables in a text, without blanks and rulers."""
    lines = (line.replace(" ", "") for line in text.splitlines() if line.startswith("|"))
    return [line for line in lines if set(line) - set("|-")]


def summary_of(benchmark):
    """Return what ``--summary`` prints."""
    module = importlib.import_module(benchmark)
    if benchmark == "learning":
        return module.summary(module.TASKS)
    return (
        module.summary(module.records.read(module.RECORDS / "cpu.json")) if benchmark == "speed" else module.summary()
    )


@pytest.mark.parametrize(
    ("benchmark", "page", "least"),
    [
        ("learning", "results", 40),
        ("conversion", "results", 40),
        ("speed", "performance", 40),
        ("distillation", "distillation", 5),
    ],
)
def test_no_figure_was_edited_by_hand(benchmark, page, least, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    printed = rows(summary_of(benchmark))
    written = rows((ROOT / "docs" / f"{page}.md").read_text())
    assert len(printed) > least
    assert [row for row in printed if row not in written] == []
