"""The map of docs/design.md shows the package as it is, and imports point one way."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sb3_spiking"
PAGE = (ROOT / "docs" / "design.md").read_text()
NAME = re.compile(r"(?<![\w/])\w+(?:\.py|/)(?=[\s,;:]|$)")
"""Name of a file or a folder in the map."""


def mapped(text):
    """Return the files and folders that a map names, in its order, and those folders that it names as a whole."""
    names, folders, opened = [], [], set()
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        opened.update(["/".join(folders)])
        found = NAME.findall(line)
        names += ["/".join([*folders, name.rstrip("/")]) for name in found]
        if found and found[0].endswith("/"):
            folders.append(found[0].rstrip("/"))
    whole = [name for name in names if not name.endswith(".py") and name not in opened]
    return names, whole


NAMES, WHOLE = mapped(PAGE.split("```")[1].strip())


def sections():
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


def test_a_map_is_read_as_it_is_drawn():
    names, whole = mapped("a/\n  b.py, c.py   words\n  d/       words\n    e.py   words: f.py\n  g/       words\n")
    assert names == ["a", "a/b.py", "a/c.py", "a/d", "a/d/e.py", "a/d/f.py", "a/g"]
    assert whole == ["a/g"]


def test_every_name_on_the_map_exists_and_none_is_named_twice():
    assert [name for name in NAMES if not (ROOT / name).exists()] == []
    assert [name for name in set(NAMES) if NAMES.count(name) > 1] == []


@pytest.mark.parametrize("package", ["sb3_spiking", "sb3_spiking_cli"])
def test_every_file_is_on_the_map(package):
    missing = []
    for path in sorted(ROOT.glob(f"{package}/**/*.py")):
        name, folders = (
            str(path.relative_to(ROOT)),
            [str(folder.relative_to(ROOT)) for folder in path.parents[:-1] if folder.is_relative_to(ROOT)],
        )
        named = name in NAMES or (path.name == "__init__.py" and folders[0] in NAMES)
        if not named and not set(folders) & set(WHOLE):
            missing.append(name)
    assert missing == []


def stops():
    """Return the files and names of the walks."""
    walks = [text for title, text in sections().items() if title.startswith(("The direct", "An observation", "A DQN"))]
    assert len(walks) == 3
    for text in walks:
        numbers = re.findall(r"^(\d+)\. ", text, re.M)
        assert 4 <= len(numbers) <= 12
        yield from re.findall(r"`([\w/]+\.py)`: `([\w.]+)`", text)
        yield from ((file, name) for name, file in re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", text))


def defined(path):
    """Return the functions and classes of a file, and the methods by ``Class.method``; methods alone, too."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
            methods = [each.name for each in getattr(node, "body", []) if isinstance(each, ast.FunctionDef)]
            names |= {*methods, *(f"{node.name}.{method}" for method in methods)}
    return names


def test_the_walks_name_what_is_there():
    found = list(stops())
    assert len(found) >= 15
    assert [stop for stop in found if stop[1] not in defined(PACKAGE / stop[0])] == []


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name:
                yield name


def room(module: str) -> str:
    """Return the room of a module: a file or folder at the top of the package, or of ``snn``."""
    _, *parts = module.split(".")
    if parts[:1] == ["snn"]:
        return f"snn/{parts[1] if len(parts) > 1 else '__init__'}"
    return parts[0] if parts else "__init__"


def test_every_room_is_on_a_floor_and_imports_only_rooms_below():
    floors = re.findall(r"^\| \w.*?\| (`.*`) \|$", sections()["Imports point one way"], re.M)
    order = [name for floor in floors for name in re.findall(r"`([\w/]+)`", floor)]
    assert sorted(order) == sorted({room(module) for module in MODULES})
    upwards = {
        f"{room(module)} -> {room(imported)} ({module})"
        for module, path in MODULES.items()
        for imported in imports(path)
        if order.index(room(imported)) < order.index(room(module))
    }
    assert sorted(upwards) == []


def test_an_import_inside_a_function_is_seen(tmp_path):
    path = tmp_path / "late.py"
    path.write_text("import torch\n\ndef f():\n    from sb3_spiking.snn import layers, SpikingNetwork\n")
    assert list(imports(path)) == ["sb3_spiking.snn.layers", "sb3_spiking.snn"]
