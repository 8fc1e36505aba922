"""Inert pickles name what real unpickling would import, and hold what it would make, without doing either."""

import collections
import inspect
import io
import os
import pickle
import random

import cloudpickle
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_spiking.reading import inert_pickles
from sb3_spiking.reading.inert_pickles import Construction, InertPickle, Name
from sb3_spiking.reading.saved_spaces import read_space

DISCRETE_TAKES_DTYPE = "dtype" in inspect.signature(spaces.Discrete.__init__).parameters
"""Since gymnasium 1.2.2."""

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


class Calls:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Recorder(pickle.Unpickler):
    """The real thing, taking notes."""

    def __init__(self, pickled):
        super().__init__(io.BytesIO(pickled))
        self.names = []

    def find_class(self, module, name):
        self.names.append(Name(module, name))
        return super().find_class(module, name)


@given(plain, st.integers(3, 5))
@settings(max_examples=60, deadline=None)
def test_plain_values_are_what_pickle_makes_of_them(value, protocol):
    assert InertPickle(pickle.dumps(value, protocol)).value == value


def test_text_protocols_are_read_too():
    value = {"a": [1, True, None, 2.5, "b\n", (10**30, -1)], "c": {"d": ()}}
    for protocol in (0, 1):
        assert InertPickle(pickle.dumps(value, protocol)).value == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        spaces.Dict(a=spaces.Box(-1, 1, (3,), seed=1), b=spaces.MultiDiscrete([2, 3])),
        {"activation_fn": nn.Tanh, "same": nn.Tanh, "optimizer_kwargs": {"eps": 1e-5}},
        collections.deque([{"r": np.float64(1.0), "l": 3}], maxlen=9),
        collections.OrderedDict(a=1, b=frozenset({1, 2}), c={3}),
        np.random.default_rng(0),
        lambda x: os.path.join(str(x), "a"),  # noqa: PTH118 (a function that cloudpickle takes apart)
    ],
    ids=["spaces", "classes", "deque", "containers", "generator", "function"],
)
def test_names_are_those_that_unpickling_looks_up(value, protocol):
    pickled = cloudpickle.dumps(value, protocol)
    recorder, inert = Recorder(pickled), InertPickle(pickled)
    recorder.load()
    assert inert.problem is None
    assert inert.names == recorder.names


@pytest.mark.parametrize("protocol", range(6))
def test_calls_are_seen_and_not_made(tmp_path, protocol):
    pickled = pickle.dumps([Calls(tmp_path / "made")], protocol)
    inert = InertPickle(pickled)
    assert inert.names == [Name(os.mkdir.__module__, "mkdir")]
    assert inert.value[0].maker == inert.names[0]
    assert not (tmp_path / "made").exists()
    pickle.loads(pickled)
    assert (tmp_path / "made").exists()


def test_a_name_cannot_hide_behind_the_memo_or_a_mark():
    # The stack ends in 'posix', 'system' although 'math', 'sqrt' were written next to the opcode.
    hidden = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94(\x8c\x04math1((00h\x00h\x01\x93."
    assert Recorder(hidden).load() is os.system
    assert InertPickle(hidden).names == [Name("posix", "system")]


def test_names_before_a_break_are_still_reported():
    inert = InertPickle(b"cposix\nsystem\n(S'true'\ntRR.")
    assert inert.names == [Name("posix", "system")]
    assert "broken" in inert.problem
    assert inert.value is None


def test_long_pickles_are_cut(monkeypatch):
    monkeypatch.setattr(inert_pickles, "MAX_OPCODES", 50)
    assert "50 opcodes" in InertPickle(pickle.dumps([[i] for i in range(50)])).problem


def test_deep_and_shared_nesting_cost_no_more_than_their_opcodes():
    doubled = b"\x80\x04)" + b"2\x86" * 50_000 + b"."  # a tuple of twice itself, 50000 times
    assert InertPickle(doubled).problem is None
    key = b"\x80\x04})" + b"2\x86" * 50_000 + b"Ns."  # the same as a dict's key: its hash would never come
    assert InertPickle(key).value == {}


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_without_an_exception(content):
    InertPickle(content)


def test_any_changed_byte_is_read_without_an_exception():
    pickled = bytearray(pickle.dumps(spaces.Dict(a=spaces.Box(-1, 1, (3,)), b=spaces.Discrete(3))))
    draw = random.Random(0)
    for _ in range(1000):
        changed = bytearray(pickled)
        changed[draw.randrange(len(changed))] = draw.randrange(256)
        InertPickle(bytes(changed))


SPACES = {
    "box": spaces.Box(np.float32([-1.0, 2.0, -np.inf]), np.float32([1.0, 3.0, np.inf])),
    "float64": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "large": spaces.Box(-2.0, np.linspace(-1, 1, 2000, dtype=np.float32)),
    "fortran": spaces.Box(np.asfortranarray(-np.arange(6.0).reshape(2, 3)), np.ones((2, 3)), dtype=np.float64),
    "image": spaces.Box(0, 255, (3, 36, 40), np.uint8),
    "bool": spaces.Box(0, 1, (4,), np.bool_),
    "scalar": spaces.Box(-1.0, 1.0, ()),
    "discrete": spaces.Discrete(5, start=-2),
    "multidiscrete": spaces.MultiDiscrete([2, 3], start=[1, -1]),
    "multibinary": spaces.MultiBinary(4),
    "multibinary2": spaces.MultiBinary([2, 3]),
}
if DISCRETE_TAKES_DTYPE:
    SPACES["int32"] = spaces.Discrete(5, dtype=np.int32)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("name", [*SPACES, "dict"])
def test_spaces_come_back_equal(name, seed, protocol):
    space = spaces.Dict(SPACES) if name == "dict" else SPACES[name]
    space.seed(seed)
    copy = read_space(InertPickle(pickle.dumps(space, protocol)).value)
    assert copy == space
    assert copy.dtype == space.dtype


def test_the_order_of_a_dict_space_is_kept():
    space = spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Discrete(3))])
    assert list(read_space(InertPickle(pickle.dumps(space)).value).keys()) == ["b", "a"]


@pytest.mark.parametrize("name", SPACES)
def test_spaces_of_gym_are_read_as_gymnasiums(name):
    space = SPACES[name]
    module = type(space).__module__
    old = module.replace("gymnasium", "gym")
    pickled = pickle.dumps(space).replace(f"{chr(len(module))}{module}".encode(), f"{chr(len(old))}{old}".encode())
    inert = InertPickle(pickled)
    assert inert.names[0].module == old
    assert read_space(inert.value) == space


@pytest.mark.parametrize(
    "value",
    [
        None,
        "Discrete(3)",
        Name("gymnasium.spaces.discrete", "Discrete"),
        Construction(Name("evil.spaces.discrete", "Discrete"), (), {"n": 3}),
        Construction(Name("gymnasium.spaces.text", "Text"), (), {"max_length": 3}),
        Construction(Name("gymnasium.spaces.box", "Box"), (), {"low": 1, "high": 2}),
        Construction(Name("gymnasium.spaces.dict", "Dict"), (), {"spaces": [1]}),
        Construction(Name("gymnasium.spaces.multi_binary", "MultiBinary"), (), {"n": True}),
    ],
    ids=str,
)
def test_what_is_no_space_is_refused(value):
    with pytest.raises(ValueError, match=r"no "):
        read_space(value)


def _pickled_discrete(dtype):
    """Return what gymnasium 1.2.2 and newer write of a Discrete space, whichever is installed."""
    space = spaces.Discrete(5, start=-2)
    space.dtype = np.dtype(dtype)
    return InertPickle(pickle.dumps(space)).value


def test_discrete_spaces_are_read_by_a_gymnasium_that_takes_no_dtype(monkeypatch):
    class DiscreteOfOld(spaces.Discrete):
        def __init__(self, n, seed=None, start=0):
            super().__init__(n, seed, start)

    of_now, wide, narrow = spaces.Discrete(5, start=-2), _pickled_discrete(np.int64), _pickled_discrete(np.int32)
    monkeypatch.setattr(spaces, "Discrete", DiscreteOfOld)
    assert read_space(wide) == of_now
    with pytest.raises(ValueError, match=r"a Discrete space of int32: that needs gymnasium 1\.2\.2"):
        read_space(narrow)


def test_arrays_of_objects_are_refused():
    space = spaces.Box(-1, 1, (2,))
    space.low = np.array([1, None], dtype=object)
    with pytest.raises(ValueError, match="plain numbers"):
        read_space(InertPickle(pickle.dumps(space)).value)
