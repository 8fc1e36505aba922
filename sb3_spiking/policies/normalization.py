"""
Observation normalisation inside the policy, as PopSAN needs it: receptive fields on [-3, 3] see nothing
of a velocity of 20.

The statistics are buffers named ``running_*``, which SB3 saves with the model and copies to the target
networks. Nothing has to be wrapped around the environment, and ``predict`` needs no second file.
"""

from collections.abc import Callable

import gymnasium as gym
import torch as th
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_spiking.snn.notices import warn

STATISTICS = ("mean", "var", "count")
EPSILON = th.finfo(th.float32).eps

ALREADY_NORMALIZED = (
    "The observations have mean 0 and variance 1 already (VecNormalize or NormalizeObservation?), and the "
    "policy normalises them once more. Keep one of the two: policy_kwargs=dict(normalize_observations=False) "
    "with VecNormalize(clip_obs=3.0), or the policy's own without a wrapper."
)

Exchange = Callable[[th.Tensor], list[th.Tensor]]
"""Given the moments of a batch, returns those of all the batches that are to be merged."""


class RunningNormExtractor(BaseFeaturesExtractor):
    """
    Running z-score, clipped::

        clip((observation - running_mean) / sqrt(running_var + eps), -clip, clip)

    The statistics are cumulative over all the training batches, that is over the replay buffer or the
    rollouts (PopSAN: over all the stored observations). They change in training mode only, where SB3 runs
    its gradient steps; before the first of these the observations are only clipped.

    On-policy algorithms compare the policy that is trained with the one that acted. For them new statistics
    wait (``deferred``) until the agent acts again: a rollout and the updates that it feeds see the same features.

    :param observation_space: a Box
    :param clip: limit of the features, > 0
    :param deferred: let the statistics of training batches wait until the next evaluation
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    running_count: th.Tensor

    def __init__(self, observation_space: gym.Space, clip: float = 3.0, deferred: bool = False) -> None:
        features_dim = get_flattened_obs_dim(observation_space)
        super().__init__(observation_space, features_dim)
        self.clip = clip
        self.deferred = deferred
        self.exchange: Exchange = only_own
        self.register_buffer("running_mean", th.zeros(features_dim))
        self.register_buffer("running_var", th.ones(features_dim))
        self.register_buffer("running_count", th.zeros(()))
        if deferred:
            for name in STATISTICS:
                self.register_buffer(f"running_next_{name}", getattr(self, f"running_{name}").clone())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        Normalise a batch of observations.

        :param observations: ``[N, *shape]``
        :return: features in [-clip, clip], ``[N, features_dim]``
        :raises ValueError: in training mode, if an observation is NaN or infinite
        """
        observations = observations.flatten(start_dim=1)
        if self.training:
            self._update(observations.detach())
        elif self.deferred:
            self._adopt()
        normalized = (observations - self.running_mean) * (self.running_var + EPSILON).rsqrt()
        return normalized.clamp(-self.clip, self.clip)

    @th.no_grad()
    def _update(self, batch: th.Tensor) -> None:
        """
        Merge the statistics of a batch into the running ones (Chan et al., 1979).

        :param batch: ``[N, features_dim]``
        :raises ValueError: if an observation is NaN or infinite; the statistics stay as they are
        """
        # Two passes; var_mean over the first dimension takes ten times as long.
        mean = batch.mean(dim=0)
        var = (batch - mean).square_().mean(dim=0)
        if not th.isfinite(var).all():
            dimensions = ", ".join(map(str, (~th.isfinite(var)).nonzero().flatten().tolist()))
            raise ValueError(f"training observations hold NaN or infinity in dimension {dimensions}")
        running_mean, running_var, running_count = self._collected()
        if running_count == 0 and _looks_normalized(mean, var, len(batch)):
            warn(ALREADY_NORMALIZED)
        for moments in self.exchange(th.cat([running_count.new_tensor([len(batch)]), mean, var])):
            count, mean, var = moments.split([1, self.features_dim, self.features_dim])
            total = running_count + count
            share = count / total
            delta = mean - running_mean
            running_mean += share * delta
            running_var += share * (var - running_var + delta.square() * (1.0 - share))
            running_count.copy_(total.squeeze())

    def _collected(self) -> list[th.Tensor]:
        prefix = "running_next_" if self.deferred else "running_"
        return [getattr(self, prefix + name) for name in STATISTICS]

    def _adopt(self) -> None:
        """Put the statistics that have waited into use."""
        with th.no_grad():
            for name, value in zip(STATISTICS, self._collected(), strict=True):
                getattr(self, f"running_{name}").copy_(value)


def only_own(moments: th.Tensor) -> list[th.Tensor]:
    """
    Return the moments of all the batches that are to be merged: this one's. Training on several processes has more.

    :param moments: of the observations of a batch: their number, means and variances, ``[1 + 2 features_dim]``
    """
    return [moments]


def _looks_normalized(mean: th.Tensor, var: th.Tensor, size: int) -> bool:
    """
    Tell whether a batch comes from observations that were normalised before.

    A policy does not see the environment's wrappers, but it sees what they do. Constant dimensions are
    normalised to 0, whatever wrapper it was.
    """
    varies = var > EPSILON
    if size < 64 or varies.sum() < 1 or (mean[~varies].abs() > 0.5).any():
        return False
    return bool((mean[varies].abs() < 0.35).all() and ((var[varies] - 1.0).abs() < 0.5).all())
