"""Extras of pyproject.toml: optional packages."""


def install_hint(extra: str) -> str:
    """Return the command that installs an extra, for error messages. The package is on no index, only in a clone."""
    return f'in the clone of sb3-spiking: pip install -e ".[{extra}]"'
