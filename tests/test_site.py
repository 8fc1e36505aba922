"""The built site is whole: every link and every picture of its own leads somewhere."""

import logging
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT, build_site


class Page(HTMLParser):
    """The targets that a page links to, and the ids that can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def broken(site):
    """Return what leads nowhere. Links from the root of a server count: they break under file:// and in a folder."""
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            known = target in pages and (not url.fragment or unquote(url.fragment) in pages[target].ids)
            if url.path.startswith("/") or not (known or (target.is_file() and target not in pages)):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


@pytest.mark.slow
def test_every_link_and_picture_of_the_site_leads_somewhere(site):
    assert site.code == 0, site.printed
    assert len(list(site.folder.rglob("*.html"))) > 20
    assert broken(site.folder) == []


def test_make_docs_fails_at_a_warning(tmp_path):
    # --quiet hides warnings from --strict: the site of a release was built over 25 of them.
    pytest.importorskip("mkdocs", reason="mkdocs is an extra")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](gone.md)")
    (tmp_path / "mkdocs.yml").write_text("site_name: a site\ntheme: mkdocs\n")
    built = build_site(tmp_path, tmp_path / "site")
    assert built.code != 0
    assert "gone.md" in built.printed


def test_docstrings_describe_parameters_that_exist(caplog):
    griffe = pytest.importorskip("griffe", reason="mkdocstrings is an extra")

    def parse(module_or_class):
        for member in module_or_class.members.values():
            if not member.is_alias:
                _ = member.docstring and member.docstring.parsed
                parse(member)

    package = griffe.load("sb3_spiking", search_paths=[ROOT], docstring_parser="sphinx")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="griffe"):
        parse(package)
    assert caplog.messages == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here">good</a><a href="https://a.org/x">not ours</a><p id="end"><a href="#end">good</a>'
        '<a href="other.html#gone">bad</a><img src="gone.png"><a href="/index.html">bad</a><a href="#top">bad</a>'
    )
    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1>')
    links = [line.rpartition(" ")[2] for line in broken(tmp_path)]
    assert links == ["other.html#gone", "gone.png", "/index.html", "#top"]
