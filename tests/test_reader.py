"""Documentation that needs more than it tells its readers to install is found."""

import sys

import pytest
from packaging.utils import canonicalize_name

import sb3_spiking
from tests.reader import PROJECT, brought_by, extras_of, readers_packages, required


def test_extras_are_read_where_readers_are_told_to_install_them():
    page = '`pip install -e ".[mujoco,atari]"`, later\n    pip install -e ".[zoo]"'
    assert extras_of(page) == ["atari", "mujoco", "zoo"]
    assert extras_of('pip install -e ".", and `pip install ".[docs]"` of somebody else') == []


def test_an_extra_that_does_not_exist_is_found():
    with pytest.raises(KeyError, match="mujocco"), readers_packages('pip install -e ".[mujocco]"'):
        pass


def test_every_requirement_is_followed_to_its_end():
    base, _ = brought_by(required([]))
    assert {"torch", "torchvision", "cloudpickle", "sympy"} <= base  # gymnasium's and torch's
    assert "mujoco" not in base
    assert "mujoco" in brought_by(required(["mujoco"]))[0]  # by an extra of a requirement
    assert brought_by(["numpy", "not-to-be-had"]) == ({"numpy", "not-to-be-had"}, {"not-to-be-had"})


def test_what_a_page_does_not_declare_cannot_be_imported():
    import mypy

    with pytest.raises(AssertionError, match="mypy comes with mypy, which neither"), readers_packages(""):
        import mypy.version
    assert sys.modules["mypy"] is mypy


def test_what_is_installed_with_the_package_can_be_imported():
    with readers_packages(""):
        import torch.utils.tensorboard  # noqa: F401


def test_pages_that_miss_something_optional_see_it_missing():
    with readers_packages(""):
        with pytest.raises(ImportError):
            __import__("ruff")
        assert "ruff" not in sys.modules


def test_other_errors_of_a_page_stay_what_they_are():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), readers_packages(""):
        __import__("no_such_module")


def test_an_import_that_the_package_explains_is_explained_here_too():
    pytest.importorskip("minatar", reason="it must be here to be hidden")
    with pytest.raises(AssertionError, match="minatar comes with minatar"), readers_packages(""):
        sb3_spiking.make_minatar_env("breakout")


def test_a_page_whose_extra_is_missing_here_runs_as_far_as_it_needs_nothing_of_it(monkeypatch):
    monkeypatch.setitem(PROJECT["optional-dependencies"], "rare", ["no-such-distribution"])
    page, ran = 'pip install -e ".[rare]"', []
    with readers_packages(page):
        ran.append(page)
    assert ran
    with pytest.raises(pytest.skip.Exception, match="needs no-such-distribution"), readers_packages(page):
        __import__("no_such_module")


def test_names_are_compared_as_installers_compare_them():
    assert canonicalize_name("MinAtar") in brought_by(required(["minatar"]))[0]
