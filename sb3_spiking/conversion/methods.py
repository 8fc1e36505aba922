"""Named methods of conversion: a coding with its thresholds."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from sb3_spiking.arguments import choice
from sb3_spiking.conversion.calibration import Threshold
from sb3_spiking.conversion.codings import Coding, FewSpike, Rate, Residual, Signed, Ternary
from sb3_spiking.errors import Argument, InputError


@dataclass(frozen=True)
class Method:
    """
    Method of conversion.

    :param coding: representation of activations by spikes
    :param threshold: rule of the thresholds, the largest activations that spikes represent
    """

    coding: Coding
    threshold: Threshold


METHODS: dict[str, Method] = {
    # Digits need headroom: saturation costs more than a part of a digit.
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
    method: str | Method | None = None,
    time_steps: int | None = None,
    threshold: str | None = None,
    per_neuron: bool | None = None,
    **constants: Any,
) -> Method:
    """
    Return a method with some of its values changed.

    :param method: key of ``METHODS``, or a method; ``DEFAULT`` if None
    :param time_steps: number of time steps in which a neuron can spike
    :param threshold: rule of the thresholds: ``"max"``, ``"99.9%"`` or ``"max*1.5"``
    :param per_neuron: whether each neuron (channel) has a threshold of its own, or else each layer
    :param constants: further constants of the coding; ``coding`` is an earlier name of ``method``
    :return: the method
    :raises ValueError: if a name or a value is not allowed, or both ``method`` and ``coding`` are given
    """
    coding = constants.pop("coding", None)
    if method is not None and coding is not None:
        both = (Argument("method", method), " and ", Argument("coding", coding))
        raise InputError(*both, ": they are two names of one argument; pass ", Argument("method"), " alone")
    if method is None:
        method = DEFAULT if coding is None else coding
    chosen = method if isinstance(method, Method) else choice("method", method, METHODS)
    if time_steps is not None:
        constants["time_steps"] = time_steps
    allowed = [field.name for field in dataclasses.fields(chosen.coding)]
    unknown = [constant for constant in constants if constant not in allowed]
    if unknown:
        name = method if isinstance(method, str) else chosen.coding.name
        raise InputError(Argument("method", name), f" has no {', '.join(unknown)}; it takes: {', '.join(allowed)}")
    if per_neuron is None:
        per_neuron = chosen.threshold.per_neuron
    rule = chosen.threshold if threshold is None else Threshold.parse(threshold, per_neuron)
    return Method(dataclasses.replace(chosen.coding, **constants), dataclasses.replace(rule, per_neuron=per_neuron))
