"""Text of unknown origin, as a terminal may show it."""

LENGTH = 600
"""Characters of such a text, unless more are asked for."""


def printable(text: str, length: int = LENGTH) -> str:
    """
    Return a text as one line that a terminal shows as it is.

    Line breaks and control characters become spaces: escape sequences, and what reverses the direction of writing.

    :param text: any text
    :param length: characters at most
    :return: the text, with ``...`` where it was cut
    """
    shown = "".join(char if char.isprintable() else " " for char in text[:length])
    return shown + ("..." if len(text) > length else "")


def one_line(text: str, length: int = LENGTH) -> str:
    """
    Return a message as one printable line: its line breaks and indentation become single spaces.

    :param text: any text
    :param length: characters at most
    :return: the text, with ``...`` where it was cut
    """
    return printable(" ".join(text[: 2 * length].split()), length)
