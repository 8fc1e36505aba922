"""No file makes its reader take more time or memory than a good one: sizes are checked before anything is allocated."""

import base64
import copy
import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_spiking.conversion.saving import is_converted, read_converted
from sb3_spiking.reading import regular_files, zip_files
from sb3_spiking.reading.archive import CheckpointError
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.checkpoint import read_checkpoint
from sb3_spiking.reading.fields import Record, read_json, whole
from sb3_spiking.reading.inert_pickles import InertPickle
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.regular_files import read_file
from sb3_spiking.reading.saved_arrays import pickled_number, read_npy
from sb3_spiking.reading.saved_spaces import check_size, read_space
from sb3_spiking.reading.saved_states import read_states
from sb3_spiking.reading.vec_normalize import read_vec_normalize
from sb3_spiking.reading.zip_files import Archive, open_archive
from tests.reading.agents import data_of, dqn, pickled, refused, rewritten, torch_file, with_data, with_state

# Files that are none.


@pytest.fixture(params=["folder", "pipe", "socket", "device", "link to a device", "link to itself", "nothing"])
def no_file(request, tmp_path):
    path = tmp_path / "agent.zip"
    match request.param:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "device":
            path = path.with_name("zero")
            path.symlink_to("/dev/zero")
        case "link to a device":
            path.with_name("link").symlink_to("/dev/urandom")
            path.symlink_to(path.with_name("link"))
        case "link to itself":
            path.symlink_to(path)
    return path


def test_pipes_and_devices_are_not_waited_for(no_file):
    for read in (read_checkpoint, inspect_zip, read_states, read_vec_normalize, read_converted):
        with pytest.raises(CheckpointError, match=r"no such file|cannot be read"):
            read(no_file)
    assert not is_converted(no_file)


def test_a_link_to_a_file_is_a_file(tmp_path, saved):
    (tmp_path / "link.zip").symlink_to(saved)
    assert read_checkpoint(tmp_path / "link.zip").algorithm == "DQN"


def test_sparse_files_are_not_read(tmp_path):
    path = tmp_path / "sparse.zip"
    with path.open("wb") as file:
        file.truncate(2**33)
    assert "more than any such file needs" in refused(path)
    with pytest.raises(ValueError, match="more than any such file needs"):
        read_file(path, 1000)


def test_files_without_a_size_are_read_to_the_limit(tmp_path, monkeypatch):
    # As those of /proc are.
    path = tmp_path / "endless"
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr(regular_files, "_check_regular", lambda status: None)
    with pytest.raises(ValueError, match="more than any such file needs"):
        read_file(path, 4999)
    assert len(read_file(path, 5000)) == 5000


# Zip files.


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_members_that_overlap_are_refused(tmp_path):
    # Python before 3.11.8 reads them: one megabyte, unpacked forty times.
    path = tmp_path / "overlap.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("policy.pth", os.urandom(2**16))
        for index in range(40):
            again = copy.copy(archive.infolist()[0])
            again.filename = f"{index}.pth"
            archive.filelist.append(again)
    for read in (read_checkpoint, inspect_zip):
        with pytest.raises(CheckpointError, match="its members overlap"):
            read(path)


def test_a_directory_that_takes_long_is_not_read(tmp_path, monkeypatch):
    path = zipped(tmp_path / "many.zip", {str(index): b"" for index in range(300)})
    monkeypatch.setattr(zip_files, "MAX_MEMBERS", 299)
    with pytest.raises(CheckpointError, match="300 members"):
        inspect_zip(path)
    monkeypatch.setattr(zip_files._Directory, "most", 10_000)
    with pytest.raises(CheckpointError, match=r"directory has \d+ bytes"):
        inspect_zip(path)


def test_encrypted_members_are_called_so(tmp_path, saved):
    content = bytearray(rewritten(saved, tmp_path / "plain.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "plain.zip") as archive:
        place = archive.start_dir
        assert archive.namelist()[0] == "data"
    content[place + 8] |= 1  # the flag in the directory
    (tmp_path / "locked.zip").write_bytes(content)
    assert "encrypted" in refused(tmp_path / "locked.zip")


def test_members_of_zip64_are_read(tmp_path, saved):
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(tmp_path / "large.zip", "w") as target:
        for name in source.namelist():
            with target.open(name, "w", force_zip64=True) as member:
                member.write(source.read(name))
    assert read_checkpoint(tmp_path / "large.zip").algorithm == "DQN"


def test_all_the_members_and_what_is_nested_in_them_share_one_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_files, "MAX_SMALL", 0)
    monkeypatch.setattr(zip_files, "MAX_GROWTH", 2)
    repeated = os.urandom(1000) * 99
    path = zipped(tmp_path / "bomb.zip", {f"{index}.pth": repeated for index in range(50)}, zipfile.ZIP_DEFLATED)
    with open_archive(path) as archive:
        archive.read("0.pth", 10**6)
        with pytest.raises(ValueError, match="bytes to unpack"):
            archive.read("1.pth", 10**6)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as nested:
        nested.writestr("a", repeated)
    budget = Budget(50_000, "bytes to unpack")
    with pytest.raises(ValueError, match="more than 50000 bytes to unpack"):
        Archive(inner, len(inner.getvalue()), budget).read("a", 10**6)


def test_a_small_file_is_not_unpacked_to_a_large_one(tmp_path, saved):
    path = tmp_path / "bomb.zip"
    content = json.dumps({**data_of(saved), "x": "x" * 2**25}).encode() + os.urandom(2**19)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("data", content)
        target.writestr("policy.pth", source.read("policy.pth"))
    tracemalloc.start()
    assert "bytes to unpack" in refused(path)
    assert any("bytes to unpack" in problem for problem in inspect_zip(path).problems)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


# JSON.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" + b"[]," * 300_000 + b"[]]", "more than 200000 values"),
        (b"[" * 70 + b"]" * 70, "nested more than 64 deep"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": \xff}', "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_takes_more_than_its_letters(content, reason):
    with pytest.raises(ValueError, match=reason):
        read_json(content)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def attempt(read):
    """Return what a reader gives, or what it says."""
    try:
        return read(), None
    except ValueError as error:
        return None, str(error)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_a_field_has_its_type_and_its_bounds_or_is_refused(value):
    record = Record({"field": value}, "file")
    readers = {
        int: lambda: record.whole("field", 1, 9),
        float: lambda: record.number("field", 0.0, 1.0),
        bool: lambda: record.flag("field"),
        str: lambda: record.text("field", 3),
        list: lambda: record.wholes("field", 2, 1, 9),
        Record: lambda: record.record("field"),
    }
    for kind, read in readers.items():
        got, error = attempt(read)
        if error is not None:
            assert error.startswith("file.field")
            assert error.isprintable()
            assert len(error) <= 400
            continue
        assert type(got) is kind
        plain = got.fields if kind is Record else got
        assert plain == value
        assert kind is not int or 1 <= got <= 9
        assert kind is not float or 0.0 <= got <= 1.0
        assert kind is not str or len(got) <= 3
        assert kind is not list or 1 <= len(got) <= 2


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1], 0, 10, 10**400, float("nan")])
def test_an_integer_is_no_bool_float_or_text(value):
    with pytest.raises(ValueError, match=r"^n=.* must be an integer in \[1, 9\]"):
        whole("n", value, 1, 9)


def test_a_missing_field_is_named_with_its_place():
    record = Record({"layers": [{"kind": "linear"}]}, "")
    (layer,) = record.records("layers", 1, 3)
    with pytest.raises(ValueError, match=r"layers\[0\].stride is missing"):
        layer.wholes("stride", 2, 1, 9)


# Pickles and arrays.


def test_a_name_is_not_as_long_as_its_author_likes():
    text = b"\x80\x04\x8d" + struct.pack("<Q", 10**6) + b"m" * 10**6 + b"\x94\x8c\x01n\x94"
    inert = InertPickle(text + b"h\x00h\x01\x930" * 1000 + b"N.")
    assert "more than 500 characters" in inert.problem
    assert inert.names == []


def test_names_do_not_write_to_the_terminal():
    inert = InertPickle(b"\x80\x04\x8c\x06os\x1b[2J\x8c\x08sys\xc2\x9btem\x93.")
    assert str(inert.names[0]).isprintable()


def test_many_pickles_share_their_opcodes(tmp_path, saved):
    opcodes = base64.b64encode(b"\x80\x04" + b"}0" * 90_000 + b"N.").decode()
    extra = {f"x{index}": {":type:": "", ":serialized:": opcodes} for index in range(5)}
    problems = inspect_zip(with_data(saved, tmp_path / "many.zip", **extra)).problems
    assert any("opcodes in all the pickles" in problem for problem in problems)


def test_entries_that_share_an_array_are_counted_one_by_one():
    large = spaces.Box(0, 255, (2**21,), np.uint8)
    many = spaces.Dict({str(index): large for index in range(64)})
    with pytest.raises(ValueError, match="numbers in a space"):
        read_space(InertPickle(base64.b64decode(pickled(many)[":serialized:"])).value)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3 * 10**8),
        spaces.MultiBinary(10**9),
        spaces.MultiBinary([2**40, 2**40]),
        spaces.MultiDiscrete([2] * 1001),
        spaces.MultiDiscrete([2**62] * 4),
        spaces.Dict({str(index): spaces.Discrete(2**20) for index in range(17)}),
    ],
    ids=str,
)
def test_spaces_that_nobody_sees(space):
    with pytest.raises(ValueError, match="more than any agent sees"):
        check_size(space)


def test_weights_that_share_memory_are_counted_one_by_one(tmp_path, saved, monkeypatch):
    monkeypatch.setattr("sb3_spiking.reading.saved_weights.MAX_NUMBERS", 10**6)

    def shared(state):
        large = next(iter(state.values())).new_zeros(10**5)
        return {**state, **{f"q_net.extra{index}": large for index in range(20)}}

    assert "weights" in refused(with_state(saved, tmp_path / "shared.zip", shared))


def test_tensors_of_any_number_of_dimensions(tmp_path, saved):
    path = with_state(
        saved, tmp_path / "deep.zip", lambda state: {"a": next(iter(state.values())).reshape(-1)[:1].reshape([1] * 30)}
    )
    assert "no dense tensor" in refused(path)
    assert inspect_zip(path).tensors == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (2.5, 2.5),
        (True, True),
        (np.int64(-7), -7),
        (np.uint8(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(False), False),
        (np.array(4), 4),
        (np.array([4]), None),
        ("3", None),
        (None, None),
    ],
)
def test_numbers_of_numpy_are_numbers(value, number):
    read = pickled_number(InertPickle(base64.b64decode(pickled(value)[":serialized:"])).value)
    assert (read, type(read)) == (number, type(number))


def npy(array, allow_pickle=False):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=allow_pickle)
    return content.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(6, dtype=">f4"),
        np.array(2.5),
        np.array([True, False]),
        np.arange(8, dtype=np.uint8)[::2],
    ],
)
def test_arrays_are_read_as_numpy_reads_them(array):
    read = read_npy(npy(array))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype.newbyteorder("=")


def promising(shape, dtype="<f8"):
    """Return the header of a large array, and eight bytes of it."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        promising("(1000000000000,)"),
        promising("(2305843009213693952, 8)"),
        promising("(0,)"),
        promising("(-1,)"),
        promising(f"({'1, ' * 40})"),
        promising("(1,)", "|S8"),
        promising("(1,)", "<c8"),
        promising("(2,)")[:-9],
        npy(np.array([None]), allow_pickle=True),
        npy(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])),
        npy(np.array(["text"])),
        npy(np.zeros((0, 3))),
        npy(np.zeros(3)) + b"more",
        b"\x93NUMPY\x07\x00" + bytes(80),
        b"",
    ],
)
def test_arrays_that_are_no_plain_numbers(content):
    with pytest.raises(ValueError, match=r"."):
        read_npy(content)


# States to calibrate on.


@pytest.mark.parametrize("name", ["states.npz", "states.npy", "states"])
def test_states_are_known_by_their_content(tmp_path, name):
    states = np.random.default_rng(0).normal(size=(5, 4))
    (tmp_path / name).write_bytes(npy(states))
    np.testing.assert_array_equal(read_states(tmp_path / name), states)
    for save in (np.savez, np.savez_compressed):
        with (tmp_path / name).open("wb") as file:
            save(file, a=states, b=np.zeros((5, 2000), np.uint8))
        read = read_states(tmp_path / name)
        np.testing.assert_array_equal(read["a"], states)
        assert not read["b"].any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(np.array(3.0)), "a single number"),
        (npy(np.zeros((0, 4))), "shape"),
        (npy(np.array([None]), allow_pickle=True), "not of plain numbers"),
        (torch_file({"a": 1}), "magic string|damaged|zip"),
        (b"no array", "magic string"),
        (b"", "."),
    ],
)
def test_states_that_are_none(tmp_path, content, reason):
    (tmp_path / "states.npy").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_states(tmp_path / "states.npy")


def test_states_of_unequal_numbers(tmp_path):
    np.savez(tmp_path / "states.npz", a=np.zeros((3, 1)), b=np.zeros((4, 1)))
    with pytest.raises(CheckpointError, match=r"entries of \[3, 4\] states"):
        read_states(tmp_path / "states.npz")


# What SB3 loads as well.


def test_numbers_of_numpy_in_a_file_are_read(tmp_path):
    contrib = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib")
    kwargs = {"n_quantiles": np.int64(10), "normalize_images": np.bool_(False), "net_arch": [np.int64(8)]}
    model = dqn(algorithm=contrib.QRDQN, **kwargs)
    for timesteps in (np.int64(70), np.float64(70.0), np.float32(70.0), 70.0):
        model.num_timesteps = timesteps
        model.save(tmp_path / "agent.zip")
        checkpoint = read_checkpoint(tmp_path / "agent.zip")
        assert (checkpoint.n_quantiles, checkpoint.normalize_images, checkpoint.net_arch) == (10, False, (8,))
        assert (checkpoint.timesteps, type(checkpoint.timesteps)) == (70, int)
        assert inspect_zip(tmp_path / "agent.zip").timesteps == 70
    assert contrib.QRDQN.load(tmp_path / "agent.zip", device="cpu").policy.n_quantiles == 10


def test_trust_is_not_recommended_where_it_would_not_help(tmp_path, saved):
    own = pickled(type("OwnPolicy", (), {"__module__": "elsewhere"}))
    assert "trust=True" in refused(with_data(saved, tmp_path / "own.zip", policy_class=own))
    tanh = pickled({"activation_fn": nn.Tanh})
    path = with_data(saved, tmp_path / "tanh.zip", policy_class=own, policy_kwargs=tanh)
    assert "activation_fn=Tanh cannot be converted" in refused(path)
    assert "trust=True" not in refused(path)
    for name, reason in (("actor.mu", "none of the networks"), ("q_net.advantage", "q_net.advantage")):
        renamed = lambda state, name=name: {f"{name}.{index}.weight": t for index, t in enumerate(state.values())}  # noqa: E731
        path = with_data(with_state(saved, tmp_path / "a.zip", renamed), tmp_path / "b.zip", policy_class=own)
        assert reason in refused(path)
        assert "trust=True" not in refused(path)
