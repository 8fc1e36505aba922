"""The built site is whole: every link and every picture of its own leads somewhere."""

import logging
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]


def build(folder, site):
    """Build a site as ``make docs`` does. Return the exit code and what was printed."""
    (flags,) = re.findall(r"mkdocs build (.*)", (ROOT / "Makefile").read_text())
    command = [sys.executable, "-m", "mkdocs", "build", *flags.split(), "--site-dir", str(site)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


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
def test_every_link_and_picture_of_the_site_leads_somewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is an extra")
    code, printed = build(ROOT, tmp_path)
    assert code == 0, printed
    assert len(list(tmp_path.rglob("*.html"))) > 20
    assert broken(tmp_path) == []


def test_make_docs_fails_at_a_warning(tmp_path):
    # --quiet hides warnings from --strict: the site of a release was built over 25 of them.
    pytest.importorskip("mkdocs", reason="mkdocs is an extra")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](gone.md)")
    (tmp_path / "mkdocs.yml").write_text("site_name: a site\ntheme: mkdocs\n")
    code, printed = build(tmp_path, tmp_path / "site")
    assert code != 0
    assert "gone.md" in printed


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
