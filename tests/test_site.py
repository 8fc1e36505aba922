"""The built site is whole: every link and every picture of its own leads somewhere."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]


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
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert len(list(tmp_path.rglob("*.html"))) > 20
    assert broken(tmp_path) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here">good</a><a href="https://a.org/x">not ours</a><p id="end"><a href="#end">good</a>'
        '<a href="other.html#gone">bad</a><img src="gone.png"><a href="/index.html">bad</a><a href="#top">bad</a>'
    )
    (tmp_path / "other.html").write_text('<h1 id="here">Here</h1>')
    links = [line.rpartition(" ")[2] for line in broken(tmp_path)]
    assert links == ["other.html#gone", "gone.png", "/index.html", "#top"]
