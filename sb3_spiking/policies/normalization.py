"""
Observation normalisation inside the policy; PopSAN needs it, since a velocity of 20 lies outside of receptive fields
on [-3, 3].

The statistics are buffers named ``running_*``, which SB3 saves with the model and copies to the target networks. The
environment needs no wrapper, and ``predict`` no second file.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_spiking.notices import warn
from sb3_spiking.policies.moments import check_moments, merge, merge_batch, moments_of
from sb3_spiking.snn.constants import SavesConstants
from sb3_spiking.snn.observers import is_exporting, operations_are_traced

STATISTICS = ("mean", "var", "count")
RESOLUTION = th.finfo(th.float32).eps
"""Relative distance of neighbouring float32 numbers: deviations below this share of a mean are rounding."""
EPSILON = 1e-16
"""Added to variances: a deviation below 1e-8 counts as constant."""
PUBLISHED_EPSILON = th.finfo(th.float32).eps
"""Added by the code of Tang et al. (2020), and by this package before ``running_epsilon`` was saved."""

ALREADY_NORMALIZED = (
    "The observations have mean 0 and variance 1 already (VecNormalize or NormalizeObservation?), and the "
    "policy normalises them once more. Keep one of the two: policy_kwargs=dict(normalize_observations=False) "
    "with VecNormalize(clip_obs=3.0), or the policy's own without a wrapper."
)

NOTHING_GATHERED = (
    "A policy in evaluation mode gathers no observation statistics, and this one has none: it learns from observations "
    "that are clipped but not normalised. Before a training loop of your own (behaviour cloning), call "
    "policy.set_training_mode(True) or policy.fit_normalization(observations)."
)

Exchange = Callable[[th.Tensor], list[th.Tensor]]
"""All-gathers batch moments across ranks; the identity in one process."""


class RunningNormExtractor(SavesConstants, BaseFeaturesExtractor):
    """
    Running z-score, clipped::

        clip((observation - mean) / sqrt(var + running_epsilon + (mean * 2^-23)^2), -clip, clip)

    The statistics are cumulative over all the training batches, drawn from the replay buffer or the rollouts (PopSAN:
    over all the stored observations). They change in training mode alone, in which SB3 runs its gradient steps; before
    the first step the observations are only clipped.

    Dimensions of any scale above 1e-8 are normalised. Below that, and below the float32 resolution of their mean, they
    count as constant and give features near 0.

    On-policy algorithms compare the policy in training with the policy that acted. While their extractor is
    ``waiting``, the statistics of training batches come into use at the next evaluation: a rollout and its update see
    the same features. The policies set ``waiting`` (``policies/rollouts.py``).

    :param observation_space: a Box
    :param clip: limit of the features, > 0
    :param deferred: let the statistics of training batches wait until the next evaluation
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    running_count: th.Tensor
    running_epsilon: th.Tensor

    def __init__(self, observation_space: gym.Space, clip: float = 3.0, deferred: bool = False) -> None:
        features_dim = get_flattened_obs_dim(observation_space)
        super().__init__(observation_space, features_dim)
        self.clip = clip
        self.deferred = deferred
        self.waiting = deferred
        self.exchange: Exchange = only_own
        self.register_buffer("running_mean", th.zeros(features_dim))
        self.register_buffer("running_var", th.ones(features_dim))
        self.register_buffer("running_count", th.zeros(()))
        self.register_buffer("running_epsilon", th.tensor(EPSILON))
        if deferred:
            for name in STATISTICS:
                self.register_buffer(f"running_next_{name}", getattr(self, f"running_{name}").clone())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        Normalise a batch of observations.

        :param observations: ``[N, *shape]``
        :return: features in [-clip, clip], ``[N, features_dim]``
        :raises ValueError: in training mode, if an observation is NaN, infinite, or too large for a variance
        """
        observations = observations.flatten(start_dim=1)
        if is_exporting():  # an example input is no training batch, whatever the policy's mode
            mean, var, _ = self._collected()
        else:
            self._keep_up(observations.detach())
            mean, var = self.running_mean, self.running_var
        variance = th.addcmul(var + self.running_epsilon, mean, mean, value=RESOLUTION**2)
        normalized = (observations - mean) * variance.rsqrt()
        return normalized.clamp(-self.clip, self.clip)

    def _keep_up(self, observations: th.Tensor) -> None:
        """Update the statistics from a training batch; apply them unless they are deferred."""
        if self.training:
            self._update(observations)
        if self.deferred and not (self.training and self.waiting):
            self._adopt()
        if not self.training:
            self._warn_if_nothing_was_gathered()

    @property
    def gathered(self) -> th.Tensor:
        """Number of observations gathered so far, waiting ones included."""
        return self._collected()[2]

    def constants(self) -> dict[str, Any]:
        return {"clip": float(self.clip)}

    @th.no_grad()
    def fit(self, observations: th.Tensor) -> None:
        """
        Replace the statistics by those of a data set.

        :param observations: ``[N, features_dim]``, whose means and variances are finite in float32
        """
        mean, var = moments_of(observations)
        if _looks_normalized(mean, var, len(observations)):
            warn(ALREADY_NORMALIZED)
        for statistic, value in zip(self._collected(), (mean, var, len(observations)), strict=True):
            statistic.copy_(th.as_tensor(value))
        self.running_epsilon.fill_(EPSILON)
        if self.deferred:
            self._adopt()

    @th.no_grad()
    def _update(self, batch: th.Tensor) -> None:
        """
        Merge the statistics of a batch into the running ones.

        :param batch: ``[N, features_dim]``
        :raises ValueError: if an observation is NaN, infinite or too large; the statistics stay as they are
        """
        running_mean, running_var, running_count = running = self._collected()
        first = running_count == 0
        if not first and self.exchange is only_own and merge_batch(batch, *running):
            return
        mean, var = moments_of(batch)
        check_moments(batch, mean, var)
        if first and _looks_normalized(mean, var, len(batch)):
            warn(ALREADY_NORMALIZED)
        for moments in self.exchange(th.cat([running_count.new_tensor([len(batch)]), mean, var])):
            merge(moments, running_mean, running_var, running_count)

    def _collected(self) -> list[th.Tensor]:
        prefix = "running_next_" if self.deferred else "running_"
        return [getattr(self, prefix + name) for name in STATISTICS]

    def _adopt(self) -> None:
        """Apply the deferred statistics."""
        with th.no_grad():
            for name, value in zip(STATISTICS, self._collected(), strict=True):
                getattr(self, f"running_{name}").copy_(value)

    def _warn_if_nothing_was_gathered(self) -> None:
        # Gradients are on in training loops alone, and under compilers, which must not meet a condition on data.
        if not th.is_grad_enabled() or operations_are_traced():
            return
        if self.running_count == 0:
            warn(NOTHING_GATHERED)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}running_var" in state_dict:
            # Models that were saved without it were trained with the published one.
            state_dict.setdefault(f"{prefix}running_epsilon", th.tensor(PUBLISHED_EPSILON))
        super()._load_from_state_dict(state_dict, prefix, *args)


def only_own(moments: th.Tensor) -> list[th.Tensor]:
    """
    Return the moments of the batches of all the ranks: of one process, its own.

    :param moments: number, means and variances of a batch of observations, ``[1 + 2 features_dim]``
    """
    return [moments]


CONSTANT = 1e-7
"""Variance of a dimension that a wrapper has normalised although it is constant."""


def _looks_normalized(mean: th.Tensor, var: th.Tensor, size: int) -> bool:
    """
    Return whether a batch comes from observations that were normalised before.

    The policy does not know the wrappers of the environment, so it judges by the values. Wrappers normalise constant
    dimensions to 0.
    """
    varies = var > CONSTANT
    if size < 64 or varies.sum() < 1 or (mean[~varies].abs() > 0.5).any():
        return False
    return bool((mean[varies].abs() < 0.35).all() and ((var[varies] - 1.0).abs() < 0.5).all())
