"""
Detection of the update that follows a rollout, by the calls that SB3's algorithms make.

PPO, A2C and TRPO compare the policy in training with the policy that acted, so observation statistics must wait during
the update. In other training (behaviour cloning) they must not: there they would change the policy afterwards, when it
first acts.
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
    """Latest calls of a policy."""

    NONE = auto()
    RUNNING = auto()
    """The policy acted, with values and log-probabilities, in evaluation mode."""
    ENDED = auto()
    """It acted, and then valued the last observation."""


class FollowsRollouts(SB3Policy):
    """
    Defer observation statistics during the update that follows a rollout.

    A mixin, first among the bases. A rollout calls ``forward`` in evaluation mode and ends with ``predict_values``. The
    next call of ``set_training_mode(True)`` begins its update. A further call begins other training, unless no training
    batch was seen in between: algorithms must not repeat the call in the middle of an update.
    """

    training: bool
    _rollout = Rollout.NONE
    _update_began_at: list[float] | None = None
    """Number of observations in the statistics when the latest update began."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Act, as SB3's policy does; in evaluation mode the call counts as a step of a rollout."""
        if not self.training:
            self._rollout = Rollout.RUNNING
        return super().forward(*args, **kwargs)

    def predict_values(self, *args: Any, **kwargs: Any) -> Any:
        """Compute values, as SB3's policy does; in evaluation mode the call ends a rollout."""
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
        Put the policy into training or evaluation mode, under torch's name.

        :param mode: training or evaluation
        :return: this policy
        """
        if mode:
            self.begin_training()
        return super().train(mode)

    def begin_training(self) -> None:
        """Defer the statistics if this training is the update of a rollout."""
        extractors = [module for module in self.modules() if isinstance(module, RunningNormExtractor)]
        gathered = [extractor.gathered.item() for extractor in extractors]
        waiting = self._rollout is Rollout.ENDED or gathered == self._update_began_at
        self._rollout = Rollout.NONE
        self._update_began_at = gathered if waiting else None
        for extractor in extractors:
            extractor.waiting = waiting
