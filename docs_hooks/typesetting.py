"""
Typeset what Markdown leaves plain, on every page.

A cell gets the heading of its column, so that a stylesheet can show a row as a card on a phone. Columns of figures are
marked. A spread such as ``5764 +- 449`` is never broken. Terms of definition lists can be linked to, as headings can.
"""

import re
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.extensions.toc import slugify, unique
from markdown.treeprocessors import Treeprocessor

FIGURE = re.compile(r"[-+]?\d[\d\s.,:;%/()±+x-]*([A-Za-z]{1,3})?")
SPREAD = re.compile(r"\s*(?:\+-|±)\s*")
NO_BREAK_SPREAD = "\u00a0±\u00a0"
AFTER_HEADINGS = 5
"""Priority, that of ``toc``, which gives headings their ids: what is registered later with the same one comes later."""


class Typesetting(Treeprocessor):
    """Mark the cells of tables, set spreads, and make terms linkable."""

    def run(self, root: Element) -> None:
        """
        Change a page in place.

        :param root: the page
        """
        set_spreads(root)
        for table in root.iter("table"):
            mark_cells(table)
        link_terms(root)


def set_spreads(element: Element) -> None:
    """
    Write plus-minus signs that keep their numbers together.

    :param element: element of a page; code in it stays as it is
    """
    if element.tag not in ("code", "pre") and element.text:
        element.text = SPREAD.sub(NO_BREAK_SPREAD, element.text)
    for child in element:
        set_spreads(child)
        if child.tail:
            child.tail = SPREAD.sub(NO_BREAK_SPREAD, child.tail)


def mark_cells(table: Element) -> None:
    """
    Give each cell its column's heading as ``data-label``, and the cells of a column of figures the class ``figure``.

    :param table: table with one row of headings
    """
    headings = list(table.iter("th"))
    rows = [row.findall("td") for row in table.iter("tr")]
    for heading, *cells in zip(headings, *filter(None, rows), strict=False):
        texts = [text_of(cell) for cell in cells]
        if all(FIGURE.fullmatch(text) for text in texts if text) and any(texts):
            for cell in (heading, *cells):
                cell.set("class", "figure")
        if label := text_of(heading):
            for cell in cells:
                cell.set("data-label", label)


def link_terms(root: Element) -> None:
    """
    Give the terms of definition lists an id and a permanent link.

    :param root: page whose headings have their ids
    """
    ids = {name for element in root.iter() if (name := element.get("id"))}
    for term in root.iter("dt"):
        name = unique(slugify(text_of(term), "-"), ids)
        term.set("id", name)
        link = SubElement(term, "a", {"class": "headerlink", "href": f"#{name}", "title": "Permanent link"})
        link.text = "¶"


def text_of(element: Element) -> str:
    """Return the text of an element and its children."""
    return "".join(element.itertext()).strip()


class TypesettingExtension(Extension):
    """Run ``Typesetting`` at the end."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown's name
        md.treeprocessors.register(Typesetting(md), "typesetting", AFTER_HEADINGS)


def on_config(config: Any) -> None:
    """Add the extension, which has no name that mkdocs.yml could give."""
    config.markdown_extensions.append(TypesettingExtension())
