"""MaskablePPO: a spiking actor whose invalid actions are masked."""

from typing import Any

import numpy as np
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from sb3_spiking.policies.on_policy import SpikingActorCritic
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded


class SpikingMaskablePolicy(SpikingActorCritic, MaskableActorCriticPolicy):
    """SB3's maskable actor-critic policy with a spiking actor."""

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Return the actions of observations, as sb3-contrib does.

        :param observation: raw observation of the environment, or a batch
        :param state: passed on as it is
        :param episode_start: not used
        :param deterministic: whether no action is random
        :param action_masks: masks of the valid actions
        :return: actions, and ``state``
        """
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        policy = MaskableActorCriticPolicy
        return policy.predict(self, observation, state, episode_start, deterministic, action_masks)


class PopSANPolicy(PopulationCoded, SpikingMaskablePolicy):
    """Population-coded spiking actor for MaskablePPO."""


class SpikingMlpPolicy(DirectCurrent, SpikingMaskablePolicy):
    """Spiking actor on direct currents for MaskablePPO."""


class SpikingCnnPolicy(Images, SpikingMaskablePolicy):
    """Spiking convolutional actor for MaskablePPO."""


class SpikingMultiInputPolicy(Dictionaries, SpikingMaskablePolicy):
    """Spiking actor on Dict observations for MaskablePPO."""
