"""Which coding with which thresholds: the named ways to convert."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from sb3_spiking.arguments import choice
from sb3_spiking.conversion.calibration import Threshold
from sb3_spiking.conversion.codings import Coding, FewSpike, Rate, Residual, Signed, Ternary


@dataclass(frozen=True)
class Method:
    """
    A way to convert.

    :param coding: how spikes carry activations
    :param threshold: which activations they can carry
    """

    coding: Coding
    threshold: Threshold


METHODS: dict[str, Method] = {
    # Digits want room for what the calibration has not met: saturation costs more than the part of a digit.
    "ternary": Method(Ternary(time_steps=10), Threshold(factor=1.5)),
    "few-spike": Method(FewSpike(time_steps=16), Threshold(factor=1.5)),
    "rate": Method(Rate(time_steps=64), Threshold(percent=99.9)),
    "signed": Method(Signed(time_steps=64), Threshold(percent=99.9)),
    "residual": Method(Residual(time_steps=64), Threshold()),
    # Tan, Patel and Kozma (AAAI 2021).
    "tan2021": Method(Rate(time_steps=500, initial=0.0), Threshold(percent=99.9, per_neuron=False)),
}

DEFAULT = "ternary"


def make_method(
    name: str = DEFAULT,
    time_steps: int | None = None,
    threshold: str | None = None,
    per_neuron: bool | None = None,
    **constants: Any,
) -> Method:
    """
    Return a named method, with some of its values changed.

    :param name: a key of ``METHODS``
    :param time_steps: the coding's
    :param threshold: ``"max"``, ``"99.9%"`` or ``"max*1.5"``
    :param per_neuron: a threshold for each neuron (channel) instead of each layer
    :param constants: others of the coding's values
    :return: the method
    :raises ValueError: if a name or a value is not allowed
    """
    method = choice("coding", name, METHODS)
    if time_steps is not None:
        constants["time_steps"] = time_steps
    allowed = [field.name for field in dataclasses.fields(method.coding)]
    unknown = [constant for constant in constants if constant not in allowed]
    if unknown:
        raise ValueError(f"coding={name!r} has no {', '.join(unknown)}; it takes: {', '.join(allowed)}")
    if per_neuron is None:
        per_neuron = method.threshold.per_neuron
    return Method(
        dataclasses.replace(method.coding, **constants),
        Threshold.parse(threshold or str(method.threshold), per_neuron),
    )
