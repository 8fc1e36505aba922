"""Comparison of the ranks' settings before training starts."""

import functools
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper

from sb3_spiking.distributed.descriptions import describe, without_address
from sb3_spiking.optimizers.gradient_hooks import optimizers
from sb3_spiking.versions import REQUIRED, versions

Settings = Mapping[str, Any]

OWN_TO_EACH_RANK = {"seed", "verbose", "tensorboard_log", "start_time"}
"""Attributes of an algorithm that may always differ between ranks."""

DESCRIBED_APART = {"policy_kwargs", "learning_rate", "env", "observation_space", "action_space"}
"""Attributes of an algorithm with entries of their own in `settings`."""

COUNTERS = {"_n_updates", "_n_calls"}
"""Private attributes that time delayed updates and target networks."""

MAY_DIFFER = {
    "environment": {"environment"},
    "exploration": {
        "action_noise",
        "exploration_schedule",
        "exploration_rate",
        "exploration_initial_eps",
        "exploration_final_eps",
        "exploration_fraction",
    },
}
"""Settings that the user may allow to differ: the ranks then collect different experience and learn from all of it."""

POINTS = 1001
"""Number of values at which schedules are compared, from the start of the training to its end."""


@dataclass(frozen=True)
class Sampled:
    """Values of a schedule at equal distances, from the start of the training to its end."""

    values: tuple[float | str, ...]

    @staticmethod
    def of(schedule: Schedule) -> "Sampled":
        """Sample a function of the remaining progress, from 1 to 0."""
        return Sampled(tuple(_value(schedule, point) for point in range(POINTS)))


def _value(schedule: Schedule, point: int) -> float | str:
    try:
        return describe(float(schedule(_remaining(point))))
    except Exception as error:  # many schedules fail at the very end, which training does not reach
        return type(error).__name__


def _remaining(point: int) -> float:
    return 1.0 - point / (POINTS - 1)


def settings(model: BaseAlgorithm, total_timesteps: int) -> Settings:
    """Return the settings that must be equal on all the ranks: plain values, sampled schedules and spaces, by name."""
    policy = model.policy
    assert model.env is not None
    # The constructor parameters include defaults, so that one rank may write them out and another not.
    policy_kwargs = {**model.policy_kwargs, **policy._get_constructor_parameters()}
    for name in ("lr_schedule", "observation_space", "action_space"):
        policy_kwargs.pop(name, None)
    return {
        "algorithm": describe(type(model)),
        "total_timesteps": total_timesteps,
        "environment": _environment(model.env),
        "observation_space": model.observation_space,
        "action_space": model.action_space,
        "policy_kwargs": describe(policy_kwargs),
        "learning_rate": _schedule(model.lr_schedule),
        **_attributes(model),
        "tensors": {name: describe(tensor) for name, tensor in policy.state_dict().items()},
        "frozen": tuple(name for name, parameter in policy.named_parameters() if not parameter.requires_grad),
        "modules": {
            name: f"{describe(type(module))}({without_address(module.extra_repr())})"
            for name, module in policy.named_modules()
        },
        "optimizers": {name: describe(type(optimizer)) for name, optimizer in optimizers(model).items()},
        "precision": {
            "default": describe(th.get_default_dtype()),
            "products": th.get_float32_matmul_precision(),
            "autocast": th.is_autocast_enabled(model.device.type),
        },
        "versions": {
            "python": ".".join(platform.python_version_tuple()[:2]),
            **{name: versions()[name] for name in (*REQUIRED, "sb3-contrib")},
        },
    }


def _attributes(model: BaseAlgorithm) -> dict[str, Any]:
    """Describe the arguments of an algorithm."""
    left_out = OWN_TO_EACH_RANK | DESCRIBED_APART | {"lr_schedule"}
    return {
        name: _schedule(value) if _is_schedule(name, value) else describe(value)
        for name, value in vars(model).items()
        if name in COUNTERS or not (name.startswith("_") or name in left_out)
    }


def _is_schedule(name: str, value: object) -> bool:
    return callable(value) and (name in ("clip_range", "clip_range_vf") or name.endswith("_schedule"))


def _schedule(schedule: Schedule) -> Any:
    """Sample a function, or a schedule of SB3; other callables may count their calls, and are not called."""
    inner = getattr(schedule, "value_schedule", schedule)
    stateless = isinstance(inner, FunctionType | MethodType | functools.partial)
    if stateless or type(inner).__module__.startswith("stable_baselines3."):
        return Sampled.of(schedule)
    return describe(inner)


def _environment(env: VecEnv) -> dict[str, Any]:
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        wrappers.append(describe(type(env)))
        env = env.venv
    described: dict[str, Any] = {"wrappers": tuple(wrappers)}
    # Other vectorised environments may not answer; of other processes ask for strings only, which can be pickled.
    if isinstance(env, DummyVecEnv | SubprocVecEnv):
        described["names"] = tuple(without_address(name) for name in env.env_method("__str__"))
    if isinstance(env, DummyVecEnv):
        specs = [part.unwrapped.spec for part in env.envs]
        described["kwargs"] = tuple(describe({**spec.kwargs, "render_mode": None}) if spec else None for spec in specs)
    return described


def check_equal(everyone: Sequence[Settings], may_differ: Collection[str] = ()) -> None:
    """
    Raise a ValueError that names the settings that differ between ranks.

    :param everyone: settings of each rank
    :param may_differ: settings that may differ: keys of ``MAY_DIFFER``, attributes of the algorithm
    """
    unknown = [key for key in may_differ if key not in MAY_DIFFER and key not in everyone[0]]
    if unknown:
        raise ValueError(f"may_differ={unknown!r}: choose {', '.join(MAY_DIFFER)}, or attributes of the algorithm")
    allowed = {name for key in may_differ for name in MAY_DIFFER.get(key, {key})}
    first = {name: value for name, value in everyone[0].items() if name not in allowed}
    for rank, other in enumerate(everyone):
        kept = {name: value for name, value in other.items() if name not in allowed}
        found = list(_differences("", first, kept))
        if found:
            shown = "; ".join(f"{name} is {_shown(other)} and not {_shown(first)}" for name, first, other in found[:3])
            raise ValueError(f"rank {rank} differs from rank 0: {shown}{_way_out(found)}")


def _way_out(found: Sequence[tuple[str, Any, Any]]) -> str:
    names = {name.split(".")[0].split("(")[0] for name, _, _ in found}
    keys = [key for key, members in MAY_DIFFER.items() if names & members]
    if not names <= {name for key in keys for name in MAY_DIFFER[key]}:
        return ""
    return f"; if that is meant: DataParallelCallback(may_differ={keys})"


def _differences(name: str, first: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of each difference, and both values."""
    match first, other:
        case Mapping(), Mapping():
            for key in dict.fromkeys([*first, *other]):
                yield from _differences(f"{name}.{key}".removeprefix("."), first.get(key), other.get(key))
        case Sampled(), Sampled():
            pairs = enumerate(zip(first.values, other.values, strict=True))
            yield from [(f"{name}({_remaining(point):g})", *pair) for point, pair in pairs if pair[0] != pair[1]][:1]
        case _ if first != other:
            yield name, first, other


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
