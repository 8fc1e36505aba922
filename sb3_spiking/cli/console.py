"""Output of the commands: tables and lists, progress bars, notes and warnings."""

import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sb3_spiking.printable import printable

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

MAX_ROWS = 200
"""Limit of a table or list: a file may have any number of entries."""


def note(text: str) -> None:
    """Print one line on the error stream about the work; characters that are not `printable` are replaced."""
    err.print(printable(text), style="dim", markup=False)


def warn(text: str) -> None:
    """Print one warning on the error stream; characters that are not `printable` are replaced."""
    err.print(f"warning: {printable(text)}", style="yellow", markup=False)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print Python's warnings as lines of this program, without a place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: warn(" ".join(str(message).split()))
        yield


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], most: int = MAX_ROWS, hint: str = "") -> None:
    """
    Print a table; columns after the first are aligned to the right.

    :param columns: headings
    :param rows: texts of each row
    :param most: maximum number of rows
    :param hint: end of the line that counts the omitted rows
    """
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index else "left", no_wrap=True)
    rows = list(rows)
    for row in rows[:most]:
        grid.add_row(*map(printable, row))
    # Files and pipes have no width at which to cut.
    out.print(grid, markup=False, width=None if out.is_terminal else 1000)
    if len(rows) > most:
        out.print(f"... and {len(rows) - most} more{hint}", style="dim", markup=False)


def listing(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names with their values below a title, one per line."""
    out.print(printable(title), style="bold", markup=False)
    shown = [(printable(name, 60), printable(text)) for name, text in rows[:MAX_ROWS]]
    indent = max((len(name) for name, _ in shown), default=0) + 4
    room = max(out.width - indent, 20) if out.is_terminal else None
    for name, text in shown:
        # Names and checksums stay whole, to be copied.
        lines = [text] if room is None else textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        out.print(f"  {name:<{indent - 2}}" + f"\n{'':<{indent}}".join(lines or [""]), markup=False)
    if len(rows) > MAX_ROWS:
        out.print(f"  ... and {len(rows) - MAX_ROWS} more", markup=False)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], object]]:
    """
    Show a progress bar on the terminal's error stream, and remove it at the end.

    :param what: description of the work
    :param total: number of units; None if unknown, 0 for no bar
    :return: function that advances the bar by one unit
    """
    if total == 0 or err.quiet or not err.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as display:
        yield partial(display.advance, display.add_task(what, total=total))
