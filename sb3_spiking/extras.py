"""The optional packages, which the extras of pyproject.toml name."""


def install_hint(extra: str) -> str:
    """
    Return how to install an extra. The package is on no index: only its clone knows its extras.

    :param extra: name of the extra
    :return: the end of an error message
    """
    return f'in the clone of sb3-spiking: pip install -e ".[{extra}]"'
