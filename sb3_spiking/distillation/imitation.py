"""The loss of a student that imitates actions."""

import numpy as np
import torch as th
from gymnasium import spaces
from torch.nn import functional

from sb3_spiking.policies.action_map import ActionMap


def imitation_loss(action_map: ActionMap, outputs: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """
    Return how far the outputs of a network are from those whose actions equal given ones.

    ::

        Box, unscaled       mean (y - a)^2, both in [-1, 1], with y = tanh(x) where the action map squashes
        Box                 mean (x - a)^2 in units of half the range; 0 where both are beyond the same bound
        Discrete            cross-entropy of softmax(x) and the action, of the mean over the quantiles
        MultiDiscrete       sum of the cross-entropies of the dimensions
        MultiBinary         mean binary cross-entropy of sigmoid(x) and the action

    :param action_map: map from outputs to actions
    :param outputs: outputs ``x`` of the network, ``[N, out_dim]``
    :param actions: actions to be learnt, ``[N, *shape]``
    :return: loss, a scalar
    :raises ValueError: if there is no deterministic action in the space
    """
    match action_map.space:
        case spaces.Box() as space:
            low, high, half = (
                th.as_tensor(bound.reshape(-1)).to(outputs) for bound in (space.low, space.high, half_range(space))
            )
            wanted = actions.to(outputs).reshape(outputs.shape)
            if action_map.unscaled:
                reached = outputs.tanh() if action_map.squashed else outputs
                return (reached - ((wanted - low) / half - 1.0)).square().mean()
            beyond = ((outputs >= high) & (wanted >= high)) | ((outputs <= low) & (wanted <= low))
            return (((outputs - wanted) / half) * ~beyond).square().mean()
        case spaces.Discrete() as space:
            logits = outputs.reshape(len(outputs), -1, int(space.n)).mean(dim=1)
            return functional.cross_entropy(logits, actions.long() - int(space.start))
        case spaces.MultiDiscrete() as space:
            parts = outputs.split(space.nvec.tolist(), dim=1)
            chosen = (actions.long() - th.as_tensor(space.start).to(actions.device)).unbind(dim=1)
            return th.stack([functional.cross_entropy(*pair) for pair in zip(parts, chosen, strict=True)]).sum()
        case spaces.MultiBinary():
            return functional.binary_cross_entropy_with_logits(outputs, actions.to(outputs).reshape(outputs.shape))
    raise ValueError(f"there is no deterministic action in {action_map.space}")


def half_range(space: spaces.Box) -> np.ndarray:
    """
    Return half of the range of each action, 1 where it has no bounds.

    :param space: action space
    :return: ``[*shape]``
    """
    half = 0.5 * (space.high.astype(np.float64) - space.low.astype(np.float64))
    return np.where(np.isfinite(half) & (half > 0.0), half, 1.0).astype(np.float32)
