"""Records of measurements: JSON files below docs/data, and the Markdown tables made of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sb3_spiking.files import replacing

DOCS = Path(__file__).resolve().parents[1] / "docs"
DATA = DOCS / "data"


def read(path: Path) -> dict[str, Any]:
    """Return a record, an empty one if there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, record: Mapping[str, Any], indent: int | None = None) -> None:
    """
    Write a record atomically.

    :param path: JSON file; missing folders are created
    :param record: contents of the file
    :param indent: indentation, None for one line
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (partial,):
        partial.write_text(json.dumps(record, indent=indent) + "\n")


def row(cells: Iterable[object]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(heading: Sequence[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [row(heading), "|" + "---|" * len(heading), *map(row, rows)]
