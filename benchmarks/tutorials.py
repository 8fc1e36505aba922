"""
Run tutorials in full and update their pages with the outputs.

    python benchmarks/tutorials.py docs/tutorials/first-agent.md
    python benchmarks/tutorials.py docs/tutorials/first-agent.md --seed 3

The output of a block of Python replaces the block of text below it, if there is one. Figures go to
``docs/images/tutorials``. ``--data`` names files that the pages read. A record of each run goes to
``docs/data/tutorials``.

``--seed`` replaces each ``seed=0`` of the page and leaves the page unchanged: statements that hold for one seed only do
not belong into the text. ``ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE`` imitates a processor with other rounding.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import matplotlib
import records
import torch as th
from provenance import provenance
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

FENCE = "\n```text\n"


@dataclass(frozen=True)
class Printed:
    """
    Output of a block of Python.

    :param line: first line of the block in the page
    :param text: printed text
    """

    line: int
    text: str


def run(page: Path, data: list[Path], pictures: Path | None) -> list[Printed]:
    """
    Run a page from top to bottom in a temporary folder.

    :param page: Markdown file
    :param data: files that the page reads
    :param pictures: folder for the figures, None to discard them
    :return: outputs of the blocks
    """
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        for file in data:
            shutil.copy(file, folder)
        with contextlib.chdir(folder):
            for example in Sybil([PythonCodeBlockParser()]).parse(page).examples():
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    example.evaluate()
                outputs.append(Printed(example.line, printed.getvalue()))
                print(f"{page.name}:{example.line}\n{printed.getvalue()}", flush=True)
        if pictures is not None:
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, pictures)
    return outputs


def renewed(text: str, outputs: list[Printed]) -> str:
    """
    Replace the outputs in a page.

    :param text: text of the page
    :param outputs: outputs of its blocks
    :return: text with the new outputs
    """
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[: output.line])) for output in outputs]  # behind the fence that opens the block
    for start, output in zip(reversed(starts), reversed(outputs), strict=True):
        end = text.index("```\n", start) + 4
        if output.text and text.startswith(FENCE, end):
            text = text[: end + len(FENCE)] + output.text.rstrip() + text[text.index("\n```", end + len(FENCE) - 1) :]
    return text


def with_seed(page: Path, seed: int, folder: Path) -> Path:
    """Write a copy of the page with another seed and return its path."""
    changed = folder / page.name
    changed.write_text(re.sub(r"\bseed=0\b", f"seed={seed}", page.read_text()))
    return changed


def record(page: Path, seed: int, outputs: list[Printed], seconds: float) -> Path:
    """Write the record of a run and return its path."""
    capability = th.backends.cpu.get_cpu_capability()
    path = records.DOCS / "data" / "tutorials" / f"{page.stem}-seed{seed}-{capability.lower()}.json"
    contents = {
        "page": page.name,
        "seed": seed,
        "outputs": [asdict(output) for output in outputs if output.text],
        "cpu_seconds": round(seconds),
        "cpu_capability": capability,
        **provenance(),
    }
    records.write(path, contents, indent=1)
    return path


def main() -> None:
    """Run the named pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="files that the pages read")
    parser.add_argument("--seed", type=int, help="seed of all trainings; the pages stay unchanged")
    args = parser.parse_args()
    os.environ["MUJOCO_GL"] = "egl"
    matplotlib.use("Agg")
    th.set_num_threads(1)
    warnings.showwarning = show_in_output  # warnings are part of the output in a notebook
    data = [file.resolve() for file in args.data]
    for page in args.pages:
        clock = time.process_time()
        if args.seed is None:
            outputs = run(page.resolve(), data, records.DOCS / "images" / "tutorials")
            page.write_text(renewed(page.read_text(), outputs))
        else:
            with tempfile.TemporaryDirectory() as folder:
                outputs = run(with_seed(page, args.seed, Path(folder)), data, None)
        print(f"recorded: {record(page, args.seed or 0, outputs, time.process_time() - clock)}")


def show_in_output(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as part of the output, without its location in the source."""
    print(f"{category.__name__}: {message}")


if __name__ == "__main__":
    main()
