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
    return " ".join(shown.split()) + ("..." if len(text) > length else "")
