"""Fixtures of the environments' tests."""

from tests.conversion.conftest import images_and_dicts

__all__ = ["images_and_dicts"]
