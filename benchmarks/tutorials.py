"""
Run tutorials in full, and put what they print and draw into their pages.

    python benchmarks/tutorials.py docs/tutorials/first-agent.md

What a block of Python prints replaces the block of text below it, where there is one. Pictures go to
``docs/images/tutorials``. Files that a page needs are looked for in the folder ``--data``.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TextIO

import matplotlib
import torch as th
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

DOCS = Path(__file__).resolve().parents[1] / "docs"
FENCE = "\n```text\n"


def run(page: Path, data: list[Path]) -> None:
    """
    Run a page, and bring its outputs and pictures up to date.

    :param page: a Markdown file
    :param data: files that it reads
    """
    text, outputs = page.read_text(), []
    with tempfile.TemporaryDirectory() as folder:
        for file in data:
            shutil.copy(file, folder)
        with contextlib.chdir(folder):
            for example in Sybil([PythonCodeBlockParser()]).parse(page).examples():
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    example.evaluate()
                outputs.append((text.index("```\n", example.region.start + 3) + 4, printed.getvalue()))
                print(f"{page.name}:{example.line}\n{printed.getvalue()}", flush=True)
        pictures = DOCS / "images" / "tutorials"
        for picture in Path(folder).glob("*.png"):
            shutil.copy(picture, pictures)
    for end, output in reversed(outputs):
        if output and text.startswith(FENCE, end):
            text = text[: end + len(FENCE)] + output.rstrip() + text[text.index("\n```", end + len(FENCE) - 1) :]
    page.write_text(text)


def main() -> None:
    """Run the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="files that the pages read")
    args = parser.parse_args()
    os.environ["MUJOCO_GL"] = "egl"
    matplotlib.use("Agg")
    th.set_num_threads(1)
    # A reader sees warnings between the lines.
    warnings.showwarning = show_in_output
    for page in args.pages:
        run(page.resolve(), [file.resolve() for file in args.data])


def show_in_output(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a part of the output, without the place in the source."""
    print(f"{category.__name__}: {message}")


if __name__ == "__main__":
    main()
