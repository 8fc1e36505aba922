"""Tensors of torch's files are what torch reads, and a pickle that never ends costs no time."""

import io
import pickle
import signal
import zipfile
from collections import OrderedDict

import pytest
import torch as th
from stable_baselines3 import PPO
from torch.testing import assert_close

from sb3_spiking.reading.saved_tensors import DTYPES, read_tensors
from tests.reading.agents import dqn, refused, rewritten, torch_file


def same_as_torch(content):
    expected = th.load(io.BytesIO(content), weights_only=True)
    read = read_tensors(content)
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        assert (read[name].dtype, read[name].stride()) == (tensor.dtype, tensor.stride())
        assert_close(read[name], tensor, rtol=0.0, atol=0.0)


def test_agents(tmp_path):
    for index, model in enumerate([dqn(), PPO("MlpPolicy", "CartPole-v1", device="cpu")]):
        model.save(tmp_path / f"{index}.zip")
        with zipfile.ZipFile(tmp_path / f"{index}.zip") as archive:
            same_as_torch(archive.read("policy.pth"))


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_numbers_of_every_kind(dtype):
    same_as_torch(torch_file({"a": th.arange(-3, 9).to(dtype).reshape(3, 4)}))


def test_views_of_shared_memory():
    base = th.arange(24.0)
    views = {
        "slice": base[3:7],
        "transposed": base.view(4, 6).t(),
        "strided": base[::5],
        "expanded": base[:1].expand(9),
    }
    content = torch_file(OrderedDict(views, scalar=th.tensor(2.5)))
    same_as_torch(content)
    read = read_tensors(content)
    assert read["slice"].untyped_storage().data_ptr() == read["strided"].untyped_storage().data_ptr()


class Call:
    """Pickles as a call that torch's weights_only loader allows."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def with_pickle(content, pickled):
    """Return a torch file with another pickle."""
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with source, zipfile.ZipFile(target, "w") as copied:
        for name in source.namelist():
            copied.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


@pytest.fixture
def _deadline():
    def give_up(*_):
        pytest.fail("reading goes on and on")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_deadline")
def test_a_pickle_that_torch_would_never_finish(tmp_path, saved):
    nested = (0,)
    for _ in range(60):
        nested = (nested, nested)
    # Protocol 2 without a set: torch's loader would hash the key, and its hash visits 2**60 paths.
    pickled = b"\x80\x02}" + pickle.dumps(nested, protocol=2)[2:-1] + b"K\x01s."
    with zipfile.ZipFile(saved) as archive:
        content = with_pickle(archive.read("policy.pth"), pickled)
    assert "missing" in refused(rewritten(saved, tmp_path / "endless.zip", policy_pth=content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no zip file"),
        (pickle.dumps({"a": 1}), "no zip file"),
        (torch_file([th.zeros(1)]), "no tensors by name"),
        (torch_file({"a": 3}), "'a' is no dense tensor"),
        (torch_file({"a": Call(print, "executed")}), "'a' is no dense tensor"),
        (with_pickle(torch_file({"a": th.zeros(1)}), b"\x80\x02]."), "no tensors by name"),
        (with_pickle(torch_file({"a": th.zeros(1)}), b"\x80\x02}"), "broken pickle"),
    ],
)
def test_what_is_no_state_dict(content, reason):
    with pytest.raises(ValueError, match=reason):
        read_tensors(content)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((5,), (1,), 0), ((4,), (1,), 1), ((2, 2), (3, 1), 0), ((2**40,), (1,), 0)]
)
@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_nothing_outside_of_the_storage_is_read(shape, strides, offset):
    tensor = Call(th._utils._rebuild_tensor_v2, th.zeros(4).storage(), offset, shape, strides, False, OrderedDict())
    with pytest.raises((ValueError, RuntimeError)):
        read_tensors(torch_file({"a": tensor}))


def test_numbers_of_another_byte_order():
    content = torch_file({"a": th.zeros(1)})
    swapped = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(swapped, "w") as copied:
        for name in source.namelist():
            copied.writestr(name, b"big" if name.endswith("byteorder") else source.read(name))
    with pytest.raises(ValueError, match="big-endian"):
        read_tensors(swapped.getvalue())
