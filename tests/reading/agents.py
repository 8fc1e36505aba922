"""Small agents of every kind, their files, and these files with something changed."""

import base64
import io
import json
import os
import zipfile

import cloudpickle
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_spiking.policies import ConvExtractor
from sb3_spiking.reading.checkpoint import CheckpointError, read_checkpoint
from tests.envs import AnyEnv

BOX = spaces.Box(np.float32([-1.0, 2.0, -np.inf]), np.float32([1.0, 3.0, np.inf]))
IMAGE = spaces.Box(0, 255, (2, 36, 40), np.uint8)
GRID = spaces.Box(0, 255, (4, 10, 12), np.uint8)
MIXED = spaces.Dict(
    image=IMAGE,
    box=BOX,
    discrete=spaces.Discrete(4),
    bits=spaces.MultiBinary([2, 2]),
    many=spaces.MultiDiscrete([2, 3]),
)


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class OwnPolicy(DQNPolicy):
    pass


class OwnExtractor(FlattenExtractor):
    pass


class OwnConvExtractor(ConvExtractor):
    pass


class OwnActivation(th.nn.ReLU):
    pass


def dqn(observation_space=BOX, policy="MlpPolicy", algorithm=DQN, env=None, **policy_kwargs):
    env = env or AnyEnv(observation_space, spaces.Discrete(3))
    return algorithm(policy, env, buffer_size=10, device="cpu", policy_kwargs=policy_kwargs)


def rewritten(path, target, **changes):
    """Copy a zip file with other members; None leaves one out. Underscores stand for dots."""
    changes = {name.replace("_pth", ".pth").replace("_optimizer", ".optimizer"): new for name, new in changes.items()}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copied:
        for name in source.namelist():
            content = changes.get(name, source.read(name))
            if content is not None:
                copied.writestr(name, content)
    return target


def data_of(path):
    with zipfile.ZipFile(path) as source:
        return json.loads(source.read("data"))


def with_data(path, target, **changes):
    return rewritten(path, target, data=json.dumps({**data_of(path), **changes}))


def with_conv_arch(path, target, conv_arch):
    kwargs = {"features_extractor_class": ConvExtractor, "features_extractor_kwargs": {"conv_arch": conv_arch}}
    return with_data(path, target, policy_kwargs=pickled(kwargs))


def with_state(path, target, change):
    """Copy a zip file with another state dict."""
    with zipfile.ZipFile(path) as source:
        state = th.load(io.BytesIO(source.read("policy.pth")), weights_only=True)
    return rewritten(path, target, policy_pth=torch_file(change(state)))


def torch_file(value):
    buffer = io.BytesIO()
    th.save(value, buffer)
    return buffer.getvalue()


def pickled(value, **clear):
    return {":type:": "<class 'x'>", **clear, ":serialized:": base64.b64encode(cloudpickle.dumps(value)).decode()}


def refused(path):
    """Return why a file is refused, in one printable line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert text.isprintable()
    assert str(path) in text
    return text


def convolutional(observation_space=GRID, policy="CnnPolicy", net_arch=(), **extractor_kwargs):
    return {
        "observation_space": observation_space,
        "policy": policy,
        "net_arch": list(net_arch),
        "features_extractor_class": ConvExtractor,
        "features_extractor_kwargs": extractor_kwargs,
    }


CONVOLUTIONAL = {
    "grid": {key: value for key, value in convolutional().items() if key != "features_extractor_kwargs"},
    "grid by size": convolutional(conv_arch=None),
    "small grid": convolutional(conv_arch="small"),
    "grid with hidden layers": convolutional(net_arch=[16, 8], conv_arch=[[5, 3, 1]]),
    "strided grid": convolutional(conv_arch=((5, 2, 3),)),
    "deep grid": convolutional(conv_arch=[(6, 3, 1), [7, 4, 2], (8, 1, 1), [9, 2, 20]]),
    "image by size": convolutional(IMAGE),
    "nature image": convolutional(IMAGE, conv_arch="nature"),
    "image of ones own": convolutional(IMAGE, conv_arch=[[4, 8, 4]]),
    "scaled grid": {
        **convolutional(spaces.Box(-1, 1, (2, 10, 10), np.float32), normalized_image=True, normalize=False),
        "normalize_images": False,
    },
    "raw grid": {**convolutional(conv_arch="small"), "normalize_images": False},
    "no image": {**convolutional(spaces.Box(-1, 1, (2, 5, 5))), "normalize_images": False, "policy": "MlpPolicy"},
    "grid in a dict": convolutional(spaces.Dict(grid=GRID), "MultiInputPolicy", conv_arch=[[6, 3, 2]]),
}
AGENTS = {
    "mlp": {},
    "deep": {"net_arch": [32, 16, 8], "activation_fn": th.nn.Tanh},
    "linear": {"net_arch": []},
    "discrete": {"observation_space": spaces.Discrete(5)},
    "multidiscrete": {"observation_space": spaces.MultiDiscrete([3, 4])},
    "multibinary": {"observation_space": spaces.MultiBinary(6)},
    "float64": {"observation_space": spaces.Box(-1, 1, (2, 3), np.float64)},
    "optimizer": {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}},
    "cnn": {"observation_space": IMAGE, "policy": "CnnPolicy"},
    "small cnn": {
        "observation_space": IMAGE,
        "policy": "CnnPolicy",
        "net_arch": [16],
        "features_extractor_kwargs": {"features_dim": 32},
    },
    "scaled image": {
        "observation_space": spaces.Box(0, 1, (1, 36, 36), np.float32),
        "policy": "CnnPolicy",
        "normalize_images": False,
    },
    "flat image": {"observation_space": IMAGE, "features_extractor_class": FlattenExtractor, "net_arch": [4]},
    "dict": {"observation_space": MIXED, "policy": "MultiInputPolicy", "net_arch": [8]},
    **CONVOLUTIONAL,
}
