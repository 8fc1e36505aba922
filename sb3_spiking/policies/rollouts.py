"""
The update that a rollout feeds, told from other training (behaviour cloning) by the calls that SB3's algorithms make.

PPO, A2C and TRPO compare the policy that is trained with the one that acted, so observation statistics must wait while
they update. A loop of one's own compares with nothing; there, statistics that wait would change the policy at the end,
when it first acts.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Self

from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from sb3_spiking.policies.normalization import RunningNormExtractor

if TYPE_CHECKING:
    SB3Policy = ActorCriticPolicy
else:
    SB3Policy = BasePolicy


class Rollout(Enum):
    """What the latest calls of a policy were."""

    NONE = auto()
    RUNNING = auto()
    """The policy acted, with values and log-probabilities, in evaluation mode."""
    ENDED = auto()
    """It acted, and then valued the last observation."""


class FollowsRollouts(SB3Policy):
    """
    Let observation statistics wait during the update that follows a rollout, and only then.

    Goes before SB3's policy class. A rollout calls ``forward`` in evaluation mode and ends with ``predict_values``. The
    next switch to training mode begins its update, and the one after that begins something else.
    """

    training: bool
    _rollout = Rollout.NONE

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Act, as SB3's policy does; in evaluation mode this is taken for a step of a rollout."""
        if not self.training:
            self._rollout = Rollout.RUNNING
        return super().forward(*args, **kwargs)

    def predict_values(self, *args: Any, **kwargs: Any) -> Any:
        """Value observations, as SB3's policy does; in evaluation mode this ends a rollout."""
        if not self.training and self._rollout is Rollout.RUNNING:
            self._rollout = Rollout.ENDED
        return super().predict_values(*args, **kwargs)

    def set_training_mode(self, mode: bool) -> None:
        """
        Put the policy into training or evaluation mode.

        :param mode: training or evaluation
        """
        if mode:
            self.begin_training()
        super().set_training_mode(mode)

    def train(self, mode: bool = True) -> Self:
        """
        Do the same by torch's name.

        :param mode: training or evaluation
        :return: the policy
        """
        if mode:
            self.begin_training()
        return super().train(mode)

    def begin_training(self) -> None:
        """Let statistics wait if the training that begins is the update of a rollout."""
        waiting = self._rollout is Rollout.ENDED
        self._rollout = Rollout.NONE
        for module in self.modules():
            if isinstance(module, RunningNormExtractor):
                module.waiting = waiting
