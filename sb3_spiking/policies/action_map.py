"""The last step of a decision: from the outputs of a spiking network to the deterministic action."""

from dataclasses import dataclass

import numpy as np
import torch as th
from gymnasium import spaces
from torch.nn import functional


@dataclass(frozen=True)
class ActionMap:
    """
    Map of a network's outputs to the action that ``predict(deterministic=True)`` returns.

    ::

        Box, unscaled       low + (tanh(x) + 1) / 2 (high - low)            tanh where the network has none of its own
        Box                 x clipped to [low, high]
        Discrete            start + argmax of the mean over the quantiles, of which most algorithms have one
        MultiDiscrete       start + argmax of the logits of each dimension
        MultiBinary         1 where sigmoid(x) > 1/2

    :param space: action space
    :param unscaled: whether a Box is reached from [-1, 1], or else by clipping
    :param squashed: whether a tanh comes before
    """

    space: spaces.Space
    unscaled: bool = False
    squashed: bool = False

    def __call__(self, outputs: th.Tensor) -> th.Tensor:
        """
        Compute the actions.

        :param outputs: outputs of the network, ``[N, out_dim]``
        :return: actions, ``[N, *shape]``
        """
        match self.space:
            case spaces.Box():
                low, high = (th.as_tensor(bound, device=outputs.device) for bound in (self.space.low, self.space.high))
                outputs = (outputs.tanh() if self.squashed else outputs).reshape(-1, *self.space.shape)
                if self.unscaled:
                    return low + 0.5 * (outputs + 1.0) * (high - low)
                return outputs.clamp(low, high)
            case spaces.Discrete():
                values = outputs.reshape(len(outputs), -1, int(self.space.n)).mean(dim=1)
                return self.space.start + values.argmax(dim=1)
            case spaces.MultiDiscrete():
                parts = outputs.split(self.space.nvec.tolist(), dim=1)
                start = th.as_tensor(self.space.start, device=outputs.device)
                return start + th.stack([part.argmax(dim=1) for part in parts], dim=1)
            case spaces.MultiBinary():
                return (functional.sigmoid(outputs) > 0.5).to(outputs).reshape(-1, *self.space.shape)
        raise ValueError(f"there is no deterministic action in {self.space}")

    def actions(self, outputs: np.ndarray) -> np.ndarray:
        """
        Compute the actions in NumPy, as ``predict`` does.

        :param outputs: outputs of the network, ``[N, out_dim]``
        :return: actions, ``[N, *shape]``
        """
        match self.space:
            case spaces.Box(low=low, high=high):
                outputs = (np.tanh(outputs) if self.squashed else outputs).reshape(-1, *self.space.shape)
                if self.unscaled:
                    return low + (0.5 * (outputs + 1.0) * (high - low))
                return np.minimum(np.maximum(outputs, low), high)
            case spaces.Discrete(n=n, start=start):
                if outputs.shape[1] > n:
                    outputs = outputs.reshape(len(outputs), -1, n).mean(axis=1)
                actions = outputs.argmax(axis=1)
                return actions + start if start else actions
            case spaces.MultiDiscrete(nvec=nvec, start=start):
                parts = np.split(outputs, nvec.cumsum()[:-1], axis=1)
                return start + np.stack([part.argmax(axis=1) for part in parts], axis=1)
            case spaces.MultiBinary():
                with np.errstate(over="ignore"):
                    sigmoid = 1.0 / (1.0 + np.exp(-outputs))
                return (sigmoid > 0.5).astype(outputs.dtype).reshape(-1, *self.space.shape)
        raise ValueError(f"there is no deterministic action in {self.space}")
