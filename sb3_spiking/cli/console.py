"""What the commands share when they show something: tables, progress, and what is said beside them."""

import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sb3_spiking.printable import printable

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


MAX_ROWS = 200
"""Of a table or a list: a file may have any number of entries."""


def note(text: str) -> None:
    """
    Say what is being done, beside the results.

    :param text: one line, of which a terminal gets what is `printable`
    """
    err.print(printable(text), style="dim", markup=False)


def warn(text: str) -> None:
    """
    Say what the user should know.

    :param text: one line, of which a terminal gets what is `printable`
    """
    err.print(f"warning: {printable(text)}", style="yellow", markup=False)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show Python's warnings as lines of this program: who types a command has no line of Python to look at."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: warn(" ".join(str(message).split()))
        yield


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], most: int = MAX_ROWS, hint: str = "") -> None:
    """
    Print a table.

    :param columns: headings; those after the first are aligned to the right
    :param rows: texts of each row
    :param most: number of rows that are shown
    :param hint: how to see the others
    """
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index else "left", no_wrap=True)
    rows = list(rows)
    for row in rows[:most]:
        grid.add_row(*map(printable, row))
    # What is no terminal has no width at which to cut.
    out.print(grid, markup=False, width=None if out.is_terminal else 1000)
    if len(rows) > most:
        out.print(f"... and {len(rows) - most} more{hint}", style="dim", markup=False)


def listing(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """
    Print names and what they stand for, one in a line.

    :param title: what they belong to
    :param rows: names and texts
    """
    out.print(printable(title), style="bold", markup=False)
    shown = [(printable(name, 60), printable(text)) for name, text in rows[:MAX_ROWS]]
    indent = max((len(name) for name, _ in shown), default=0) + 4
    room = max(out.width - indent, 20) if out.is_terminal else None
    for name, text in shown:
        # Names and checksums stay whole: they are copied.
        lines = [text] if room is None else textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        out.print(f"  {name:<{indent - 2}}" + f"\n{'':<{indent}}".join(lines or [""]), markup=False)
    if len(rows) > MAX_ROWS:
        out.print(f"  ... and {len(rows) - MAX_ROWS} more", markup=False)


class Task:
    """
    One bar of a progress display.

    :param progress: the display; None shows nothing
    :param what: is being done
    :param total: how many steps it takes; None if nobody knows
    """

    def __init__(self, progress: Progress | None, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total) if progress else None

    def advance(self, steps: float = 1) -> None:
        """
        Move on.

        :param steps: how far
        """
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)


@contextmanager
def progress(what: str, total: int | None, quiet: bool) -> Iterator[Task]:
    """
    Show a progress bar on the terminal's error stream, and remove it at the end.

    :param what: is being done
    :param total: how many steps it takes; None if nobody knows
    :param quiet: show nothing
    """
    if quiet or not err.is_terminal:
        yield Task(None, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as display:
        yield Task(display, what, total)
