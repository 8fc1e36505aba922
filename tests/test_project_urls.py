"""The project's addresses are written in one place, and no other place says something else."""

from pathlib import Path
from types import SimpleNamespace

import pytest

yaml = pytest.importorskip("yaml", reason="mkdocs is an extra")

from docs_hooks import project_urls  # noqa: E402

ROOT = Path(__file__).parents[1]
BARE = '[project]\nname = "x"\n'


@pytest.fixture
def config_for(monkeypatch, tmp_path):
    def configured(pyproject):
        (tmp_path / "pyproject.toml").write_text(pyproject)
        monkeypatch.setattr(project_urls, "PYPROJECT", tmp_path / "pyproject.toml")
        config = SimpleNamespace(repo_url="", site_url="")
        project_urls.on_config(config)
        return config

    return configured


def test_a_project_without_addresses_has_a_site_without_them(config_for):
    assert vars(config_for(BARE)) == {"repo_url": "", "site_url": ""}


def test_the_site_links_to_the_repository(config_for):
    config = config_for(BARE + '[project.urls]\nRepository = "https://a.org/x"\nDocumentation = "https://x.org"\n')
    assert (config.repo_url, config.site_url, config.edit_uri) == (
        "https://a.org/x",
        "https://x.org",
        "edit/main/docs/",
    )


def test_the_citation_names_the_same_addresses():
    urls = project_urls.project_urls((ROOT / "pyproject.toml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.get("repository-code") == urls.get("Repository")
    assert citation.get("url") == urls.get("Documentation")
