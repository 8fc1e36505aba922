"""What must be the same on each rank, and what differs."""

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

from sb3_spiking.distributed.plain import plain, without_address
from sb3_spiking.optimizers.gradient_hooks import optimizers
from sb3_spiking.versions import REQUIRED, versions

Settings = Mapping[str, Any]

OWN_BUSINESS = {"seed", "verbose", "tensorboard_log", "start_time"}
"""Attributes of an algorithm that may differ between ranks."""

ELSEWHERE = {"policy_kwargs", "learning_rate", "env", "observation_space", "action_space"}
"""Attributes of an algorithm that are described by themselves."""

COUNTERS = {"_n_updates", "_n_calls"}
"""Private attributes on which it depends what an algorithm does next: delayed updates, target networks."""

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
"""Settings that may be allowed to differ: each rank then collects other experience, and all learn from all of it."""

POINTS = 1001
"""How many values of a schedule are compared, from the start of the training to its end."""


@dataclass(frozen=True)
class Sampled:
    """
    A schedule by its values.

    :param values: at equal distances, from the start of the training to its end
    """

    values: tuple[float | str, ...]

    @staticmethod
    def of(schedule: Schedule) -> "Sampled":
        """
        Sample a schedule.

        :param schedule: a function of the remaining progress, from 1 to 0
        """
        return Sampled(tuple(_value(schedule, point) for point in range(POINTS)))


def _value(schedule: Schedule, point: int) -> float | str:
    try:
        return plain(float(schedule(_remaining(point))))
    except Exception as error:  # many cannot be asked for the very end, and need not
        return type(error).__name__


def _remaining(point: int) -> float:
    return 1.0 - point / (POINTS - 1)


def settings(model: BaseAlgorithm, total_timesteps: int) -> Settings:
    """
    Return what must be the same on each rank.

    :param model: an algorithm
    :param total_timesteps: its budget
    :return: plain values, samples of schedules and spaces, by name
    """
    policy = model.policy
    assert model.env is not None
    # What the policy says of itself has the defaults too, so that it does not matter who wrote them out.
    policy_kwargs = {**model.policy_kwargs, **policy._get_constructor_parameters()}
    for name in ("lr_schedule", "observation_space", "action_space"):
        policy_kwargs.pop(name, None)
    return {
        "algorithm": plain(type(model)),
        "total_timesteps": total_timesteps,
        "environment": _environment(model.env),
        "observation_space": model.observation_space,
        "action_space": model.action_space,
        "policy_kwargs": plain(policy_kwargs),
        "learning_rate": _schedule(model.lr_schedule),
        **_attributes(model),
        "tensors": {name: plain(tensor) for name, tensor in policy.state_dict().items()},
        "frozen": tuple(name for name, parameter in policy.named_parameters() if not parameter.requires_grad),
        "modules": {
            name: f"{plain(type(module))}({without_address(module.extra_repr())})"
            for name, module in policy.named_modules()
        },
        "optimizers": {name: plain(type(optimizer)) for name, optimizer in optimizers(model).items()},
        "precision": {
            "default": plain(th.get_default_dtype()),
            "products": th.get_float32_matmul_precision(),
            "autocast": th.is_autocast_enabled(model.device.type),
        },
        "versions": {
            "python": ".".join(platform.python_version_tuple()[:2]),
            **{name: versions()[name] for name in (*REQUIRED, "sb3-contrib")},
        },
    }


def _attributes(model: BaseAlgorithm) -> dict[str, Any]:
    """Return what an algorithm was given."""
    left_out = OWN_BUSINESS | ELSEWHERE | {"lr_schedule"}
    return {
        name: _schedule(value) if _is_schedule(name, value) else plain(value)
        for name, value in vars(model).items()
        if name in COUNTERS or not (name.startswith("_") or name in left_out)
    }


def _is_schedule(name: str, value: object) -> bool:
    return callable(value) and (name in ("clip_range", "clip_range_vf") or name.endswith("_schedule"))


def _schedule(schedule: Schedule) -> Any:
    """Sample a function, or a schedule of SB3; what is another object may count its calls, and is not called."""
    inner = getattr(schedule, "value_schedule", schedule)
    stateless = isinstance(inner, FunctionType | MethodType | functools.partial)
    if stateless or type(inner).__module__.startswith("stable_baselines3."):
        return Sampled.of(schedule)
    return plain(inner)


def _environment(env: VecEnv) -> dict[str, Any]:
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        wrappers.append(plain(type(env)))
        env = env.venv
    described: dict[str, Any] = {"wrappers": tuple(wrappers)}
    # Others need not answer, and what cannot be pickled must not be asked of another process.
    if isinstance(env, DummyVecEnv | SubprocVecEnv):
        described["names"] = tuple(without_address(name) for name in env.env_method("__str__"))
    if isinstance(env, DummyVecEnv):
        specs = [part.unwrapped.spec for part in env.envs]
        described["kwargs"] = tuple(plain({**spec.kwargs, "render_mode": None}) if spec else None for spec in specs)
    return described


def check_equal(everyone: Sequence[Settings], may_differ: Collection[str] = ()) -> None:
    """
    Refuse settings that differ.

    :param everyone: the settings of each rank
    :param may_differ: what is allowed to: keys of ``MAY_DIFFER``, attributes of the algorithm
    :raises ValueError: if others do, or there is no such attribute; the message names them
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
    """Yield what differs: its name, and its value on either side."""
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
