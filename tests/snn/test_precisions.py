"""Precisions: nobody pays for bfloat16 without a word."""

import warnings

import pytest
import torch as th

from sb3_spiking import notices
from sb3_spiking.snn import SpikingNetwork, SpikingOptions, precisions

WITH = {"architecture": "x86_64", "avx2": True, "avx512_bf16": True, "amx_bf16": False}
WITHOUT = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}
ARM = {"architecture": "aarch64", "neon": True, "bf16": True}


@pytest.fixture
def processor(monkeypatch):
    def pretend(capabilities):
        monkeypatch.setattr(th.cpu, "get_capabilities", lambda: capabilities, raising=False)
        precisions.has_bfloat16.cache_clear()
        notices.warn_once.cache_clear()

    yield pretend
    monkeypatch.undo()
    precisions.has_bfloat16.cache_clear()
    notices.warn_once.cache_clear()


@pytest.mark.parametrize(("capabilities", "native"), [(WITH, True), (WITHOUT, False), (ARM, True), ({}, None)])
def test_the_instructions_of_x86_and_arm_are_known(processor, capabilities, native):
    processor(capabilities)
    assert precisions.has_bfloat16() is native


def test_a_torch_that_cannot_say_is_believed(processor, monkeypatch):
    processor({})
    monkeypatch.delattr(th.cpu, "get_capabilities")
    assert precisions.has_bfloat16() is None


def test_bfloat16_without_instructions_for_it_warns_once(processor):
    processor(WITHOUT)
    network = SpikingNetwork(4, 2, (8,), SpikingOptions(precision="bfloat16"))
    with pytest.warns(UserWarning, match=r"precision='bfloat16' is slower.*avx512_bf16"):
        network(th.randn(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(th.randn(3, 4))


@pytest.mark.parametrize(("capabilities", "precision"), [(WITH, "bfloat16"), ({}, "bfloat16"), (WITHOUT, "float32")])
def test_nobody_else_is_warned(processor, capabilities, precision):
    processor(capabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SpikingNetwork(4, 2, (8,), SpikingOptions(precision=precision))(th.randn(3, 4))
