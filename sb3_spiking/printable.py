"""Printable form of untrusted text, for terminals, and tables of text."""

from collections.abc import Sequence

LENGTH = 600
"""Default length of a text in characters."""


def printable(text: str, length: int = LENGTH) -> str:
    """
    Replace unprintable characters of a text by spaces: line breaks, escape sequences, changes of writing direction.

    :param text: any text
    :param length: largest number of characters
    :return: one line, with ``...`` where it was cut
    """
    shown = "".join(char if char.isprintable() else " " for char in text[:length])
    return shown + ("..." if len(text) > length else "")


def one_line(text: str, length: int = LENGTH) -> str:
    """
    Join the lines of a message with single spaces, and make it `printable`.

    :param text: any text
    :param length: largest number of characters
    :return: one line, with ``...`` where it was cut
    """
    return printable(" ".join(text[: 2 * length].split()), length)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """
    Align the cells of a table, to be read without a terminal's table.

    :param rows: cells of each row, as many in each
    :return: one line for each row
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(map(str.rstrip, lines))
