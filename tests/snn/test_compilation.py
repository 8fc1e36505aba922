"""Compiled kernels on disk: never out of date, and never in anybody's way."""

import importlib.util
import sys
import warnings

import pytest

from sb3_spiking import notices
from sb3_spiking.snn.execution import compilation


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Return a function of a module that can be cached beside it."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    notices.warn_once.cache_clear()
    path = tmp_path / "doubling.py"
    path.write_text("def double(x):\n    return x + x\n")
    spec = importlib.util.spec_from_file_location("doubling", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "doubling", module)  # numba imports it where the first kernel is gone
    spec.loader.exec_module(module)
    yield module.double
    notices.warn_once.cache_clear()


def compiled(function):
    """Compile for an integer and return whether the cache had it."""
    kernel = compilation.jit(function)
    assert kernel(21) == 42
    return sum(kernel.stats.cache_hits.values()) > 0


def files(tmp_path, pattern):
    found = sorted((tmp_path / "__pycache__").glob(pattern))
    assert found
    return found


def test_the_second_process_need_not_compile(function):
    assert [compiled(function), compiled(function)] == [False, True]


def test_a_change_of_any_kernel_makes_all_of_them_stale(function, monkeypatch):
    assert [compiled(function), compiled(function)] == [False, True]
    monkeypatch.setattr(compilation, "sources_digest", lambda: "other sources")
    assert [compiled(function), compiled(function)] == [False, True]


@pytest.mark.parametrize("folder", ["execution", "neurons"])
@pytest.mark.parametrize("change", ["edit", "new file"])
def test_the_digest_covers_every_source_of_the_folder(tmp_path, monkeypatch, change, folder):
    monkeypatch.setattr(compilation, "SOURCES", tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    for file in ("elementwise.py", "surrogates.py"):
        (tmp_path / file).write_text("one")
    (tmp_path / folder / "one.py").write_text("one")
    before = compilation.sources_digest.__wrapped__()
    assert compilation.sources_digest.__wrapped__() == before
    (tmp_path / folder / ("one.py" if change == "edit" else "other.py")).write_text("two")
    assert compilation.sources_digest.__wrapped__() != before


def flip_a_byte(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


DAMAGE = {"empty": lambda data: b"", "cut off": lambda data: data[:-40], "noise": lambda data: b"\x93" * len(data)}


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [*((p, d) for p in ("*.nbi", "*.nbc") for d in DAMAGE.values()), ("*.nbc", flip_a_byte)],
)
def test_a_damaged_file_costs_a_compilation_and_a_warning(function, tmp_path, pattern, damage):
    compiled(function)
    for path in files(tmp_path, pattern):
        path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"compiled kernels in .*__pycache__ cannot be used"):
        assert not compiled(function)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(function)  # it was replaced


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_a_folder_in_place_of_a_file_costs_a_compilation(function, tmp_path, pattern):
    compiled(function)
    for path in files(tmp_path, pattern):
        path.unlink()
        path.mkdir()
    with pytest.warns(UserWarning, match="cannot be used or kept"):
        assert not compiled(function)


def test_a_full_disk_costs_a_compilation_and_one_warning(function, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compilation.CheckedFiles, "_open_for_write", full)
    with pytest.warns(UserWarning, match="OSError") as caught:
        assert [compiled(function), compiled(function)] == [False, False]
    assert len(caught) == 1


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(function, monkeypatch):
    monkeypatch.setattr(compilation, "KernelCache", refuse)
    assert not compiled(function)


def refuse(function, inside):
    raise RuntimeError("cannot cache function: no locator available")


def test_code_of_another_key_is_never_run(tmp_path):
    # Two processes that compile at once may number their files alike: each index then names the other's file.
    files = compilation.CheckedFiles(str(tmp_path), "loop", "stamp")
    files.save("one neuron", "its code")
    (data,) = tmp_path.glob("*.nbc")
    mine = data.read_bytes()
    data.unlink()
    (tmp_path / "loop.nbi").unlink()
    files.save("another neuron", "other code")
    data.write_bytes(mine)
    assert files.load("another neuron") is None
    files.save("another neuron", "other code")
    assert files.load("another neuron") == "other code"


def test_closures_for_different_equations_have_files_of_their_own(tmp_path, monkeypatch):
    def equation(x):
        return x

    def other_equation(x):
        return x

    def kernel(x):
        return x

    names = {
        compilation.KernelCache(kernel, equations)._cache_file._index_name
        for equations in ((), (equation,), (other_equation,), (equation, other_equation), (equation, 1), (equation, 2))
    }
    assert len(names) == 6
