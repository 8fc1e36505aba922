"""Take the project's addresses from ``[project.urls]`` of pyproject.toml; where it has none, the site shows none."""

import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def project_urls(pyproject: str) -> dict[str, str]:
    """
    Return the addresses of a project by name, such as ``Repository``.

    :param pyproject: text of a pyproject.toml
    """
    return tomllib.loads(pyproject)["project"].get("urls", {})


def on_config(config: Any) -> None:
    """Show the repository, link every page to its source, and tell the site its address."""
    urls = project_urls(PYPROJECT.read_text())
    if "Documentation" in urls:
        config.site_url = urls["Documentation"]
    if "Repository" in urls:
        config.repo_url = urls["Repository"]
        config.repo_name = "Repository"
        config.edit_uri = "edit/main/docs/"
