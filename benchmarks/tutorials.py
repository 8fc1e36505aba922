"""
Run tutorials in full, and put what they print and draw into their pages.

    python benchmarks/tutorials.py docs/tutorials/first-agent.md
    python benchmarks/tutorials.py docs/tutorials/first-agent.md --seed 3

What a block of Python prints replaces the block of text below it, where there is one. Pictures go to
``docs/images/tutorials``. Files that a page needs are looked for in the folder ``--data``. A record of each run, with
the processor, goes to ``docs/data/tutorials``.

With ``--seed``, each ``seed=0`` of the page becomes that one, and the page stays as it is: what is true for one seed
alone should not be in the text. A processor that rounds differently is imitated by ``ATEN_CPU_CAPABILITY=default
MKL_CBWR=COMPATIBLE``.
"""

import argparse
import contextlib
import io
import json
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
import torch as th
from provenance import provenance
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

DOCS = Path(__file__).resolve().parents[1] / "docs"
FENCE = "\n```text\n"


@dataclass(frozen=True)
class Printed:
    """
    What a block of a page printed.

    :param line: where the block begins
    :param text: its output
    """

    line: int
    text: str


def run(page: Path, data: list[Path], pictures: Path | None) -> list[Printed]:
    """
    Run a page from top to bottom, in a folder of its own.

    :param page: a Markdown file
    :param data: files that it reads
    :param pictures: where its pictures go, None for nowhere
    :return: what each block printed
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
    Put outputs into a page.

    :param text: the page
    :param outputs: what each of its blocks printed
    :return: the page with these in place of the former outputs
    """
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[: output.line])) for output in outputs]  # behind the fence that opens the block
    for start, output in zip(reversed(starts), reversed(outputs), strict=True):
        end = text.index("```\n", start) + 4
        if output.text and text.startswith(FENCE, end):
            text = text[: end + len(FENCE)] + output.text.rstrip() + text[text.index("\n```", end + len(FENCE) - 1) :]
    return text


def with_seed(page: Path, seed: int, folder: Path) -> Path:
    """Write the page with another seed into a folder, and return where."""
    changed = folder / page.name
    changed.write_text(re.sub(r"\bseed=0\b", f"seed={seed}", page.read_text()))
    return changed


def record(page: Path, seed: int, outputs: list[Printed], seconds: float) -> Path:
    """Write what a run printed, and where and with what it ran; return the record's path."""
    capability = th.backends.cpu.get_cpu_capability()
    path = DOCS / "data" / "tutorials" / f"{page.stem}-seed{seed}-{capability.lower()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {
        "page": page.name,
        "seed": seed,
        "outputs": [asdict(output) for output in outputs if output.text],
        "cpu_seconds": round(seconds),
        "cpu_capability": capability,
        **provenance(),
    }
    path.write_text(json.dumps(contents, indent=1) + "\n")
    return path


def main() -> None:
    """Run the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="files that the pages read")
    parser.add_argument("--seed", type=int, help="train with this seed, and leave the pages as they are")
    args = parser.parse_args()
    os.environ["MUJOCO_GL"] = "egl"
    matplotlib.use("Agg")
    th.set_num_threads(1)
    # A reader sees warnings between the lines.
    warnings.showwarning = show_in_output
    data = [file.resolve() for file in args.data]
    for page in args.pages:
        clock = time.process_time()
        if args.seed is None:
            outputs = run(page.resolve(), data, DOCS / "images" / "tutorials")
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
    """Print a warning as a part of the output, without the place in the source."""
    print(f"{category.__name__}: {message}")


if __name__ == "__main__":
    main()
