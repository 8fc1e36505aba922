"""Base of all neurons: checked constants, the SpikingJelly node, and the equations for fused kernels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.arguments import choice, positive_float
from sb3_spiking.snn.elementwise import Elementwise
from sb3_spiking.snn.neurons import equations
from sb3_spiking.snn.neurons.equations import HARD, SOFT, Equations, Reset
from sb3_spiking.snn.surrogates import Surrogate, claim

ResetName = Literal["hard", "soft"]
RESETS: dict[str, float | None] = {"hard": 0.0, "soft": None}
"""Name of a reset -> SpikingJelly's ``v_reset``."""

NEURON_OF_NODE: dict[type[sj.BaseNode], type["Neuron"]] = {}
"""Type of a SpikingJelly node -> the neuron whose equations it has."""


@dataclass(frozen=True)
class Neuron(ABC):
    """
    A neuron: checked constants, the SpikingJelly node that they build, and the equations.

    A subclass with the static methods ``charge`` and ``charge_backward`` runs in fused kernels. One without runs as its
    SpikingJelly node, and is recorded, counted and drawn as well.
    [`Equations`][sb3_spiking.snn.neurons.equations.Equations] lists the equations that a subclass may define.

    :param threshold: firing threshold, > 0
    """

    threshold: float = 0.5

    name: ClassVar[str]
    node: ClassVar[type[sj.BaseNode]]
    """Type of the node that ``build`` returns."""
    starts: ClassVar[frozenset[str]] = frozenset()
    """Constants that are start values of learnt ones, which are among the weights."""

    charge: ClassVar[Elementwise | None] = None
    charge_backward: ClassVar[Elementwise | None] = None
    learnt_backward: ClassVar[Elementwise | None] = None
    margin: ClassVar[Elementwise] = staticmethod(equations.margin)
    margin_backward: ClassVar[Elementwise] = staticmethod(equations.margin_backward)
    resets: ClassVar[Mapping[str, Reset]] = {"hard": HARD, "soft": SOFT}
    variables: ClassVar[int] = 1
    kept: ClassVar[int] = 1
    reset_variables: ClassVar[int] = 1

    _equations: ClassVar[dict[str, Equations]]
    """Equations by reset, made once: kernels are cached by object, and torch's compilers read no caches."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        charge, charge_backward = cls.charge, cls.charge_backward
        if charge is None and charge_backward is None:
            return
        if charge is None or charge_backward is None:
            raise TypeError(f"{cls.__name__} needs both charge and charge_backward to run in kernels, or neither")
        if not (1 <= cls.kept <= cls.variables and 1 <= cls.reset_variables <= cls.variables):
            raise TypeError(f"{cls.__name__}: kept and reset_variables must lie in [1, variables={cls.variables}]")
        counts = (cls.variables, cls.kept, cls.reset_variables)
        functions = (charge, charge_backward, cls.margin, cls.margin_backward)
        cls._equations = {
            name: Equations(*functions, reset, cls.learnt_backward, *counts) for name, reset in cls.resets.items()
        }
        if "node" in cls.__dict__ and "charge" in cls.__dict__:
            claim(NEURON_OF_NODE, cls.node, cls)

    def __post_init__(self) -> None:
        positive_float("neuron threshold", self.threshold)

    @abstractmethod
    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        """
        Build a multi-step SpikingJelly node.

        :param surrogate: surrogate gradient
        :return: node with these constants, of the type ``node``
        """

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...] | None:
        """
        Return the current constants of a node, in the order of the equations.

        :param node: node of the type ``node``
        :return: constants without the learnt one; None where the node has other equations
        """
        return ()

    @staticmethod
    def learnt_of(node: Any) -> th.Tensor | None:
        """
        Return the learnt constant of a node.

        :param node: node of the type ``node``
        :return: scalar tensor with a graph; None without a learnt constant
        """
        return None

    @staticmethod
    def reset_of(node: Any) -> str | None:
        """
        Return the name of a node's reset.

        :param node: node of the type ``node``
        :return: key of ``resets``; None where the node resets in another way
        """
        if node.v_reset is None:
            return "soft"
        return "hard" if node.v_reset == 0.0 else None

    @classmethod
    def equations_with(cls, reset: str) -> Equations:
        """
        Return the equations with a reset.

        :param reset: key of ``resets``
        :return: equations, one object for each reset
        """
        return cls._equations[reset]


@dataclass(frozen=True)
class ResettingNeuron(Neuron):
    """
    A neuron with a choice of resets.

    :param threshold: firing threshold, > 0
    :param reset: ``"hard"`` sets the membrane to 0 after a spike, ``"soft"`` subtracts the threshold
    """

    reset: ResetName = "hard"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("neuron reset", self.reset, RESETS)

    def _finished(self, node: sj.BaseNode, surrogate: Surrogate) -> sj.BaseNode:
        """Set threshold, reset, surrogate and step mode of a node."""
        node.v_threshold = float(self.threshold)
        node.v_reset = RESETS[self.reset]
        node.surrogate_function = surrogate.build()
        node.step_mode = "m"
        return node
