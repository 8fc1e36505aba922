"""The callback that makes the learning of several processes one."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ProgressBarCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.utils import set_random_seed

from sb3_spiking.distributed import drift, group, refusals, statistics
from sb3_spiking.distributed.average import Average
from sb3_spiking.distributed.settings import Settings, check_equal, settings
from sb3_spiking.optimizers.gradient_hooks import before_use, optimizers

EXCHANGE_EVERY = 1000
"""Environment steps, of all the ranks, after which they tell each other about their episodes and compare networks."""


class DataParallelCallback(BaseCallback):
    """
    Train one model by several processes: every gradient is the average over all of them.

    Make it before the model (it chooses the GPU of this process), and give it to ``learn`` on each rank::

        parallel = DataParallelCallback(rank_zero=EvalCallback(...))      # evaluation on the first rank only
        model = TD3("PopSANPolicy", env, seed=0)
        model.learn(100_000, callback=parallel)
        if parallel.is_main:
            model.save("model")

    It is right for TD3, DDPG, SAC, TQC, CrossQ, PPO, A2C, DQN, QRDQN and MaskablePPO, whatever their policy; TRPO and
    ARS are refused. All the ranks start from the parameters and optimisers of the first one and sample with seeds of
    their own. Counters, and with them the budget, ``learning_starts`` and schedules, mean the steps of all the ranks;
    batch sizes, ``train_freq``, ``n_steps`` and ``target_update_interval`` those of each. So a batch is as large as all
    the ranks' together. The advantages of PPO and the batch normalisation of CrossQ are normalised by each rank.

    :param rank_zero: callbacks for the first rank only: evaluation, checkpoints of your own; when they end the
        training, it ends on each rank
    :param checkpoint: file that the first rank writes the model to, complete or not at all; one that is there is
        replaced
    :param checkpoint_every: environment steps, of all the ranks, between two of them, >= 1
    :param timeout: seconds without an answer after which another rank counts as lost, > 0; an evaluation must not take
        longer
    :param may_differ: what is meant to be another thing on each rank: ``"environment"`` (names, wrappers and arguments,
        never the spaces) or ``"exploration"`` (action noise, DQN's schedule)
    :param verbose: not used
    :raises ValueError: if the process was not started by ``torchrun`` or its like, or an argument is not allowed; when
        training starts, if the algorithm, a setting or a difference between the ranks does not permit it
    :raises RankLostError: when the other ranks cannot be reached; in training, when one does not answer
    :raises RuntimeError: in training, when the networks of the ranks differ
    :raises FloatingPointError: in training, when a gradient is not finite
    """

    def __init__(
        self,
        rank_zero: BaseCallback | list[BaseCallback] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 10_000,
        timeout: float = 600.0,
        verbose: int = 0,
        may_differ: str | Collection[str] = (),
    ) -> None:
        super().__init__(verbose)
        if checkpoint_every < 1:
            raise ValueError(f"checkpoint_every={checkpoint_every!r} must be an integer >= 1")
        self.may_differ = (may_differ,) if isinstance(may_differ, str) else tuple(may_differ)
        group.join(timeout)
        self.rank = group.rank()
        self.world_size = group.size()
        self.child = CallbackList(rank_zero) if isinstance(rank_zero, list) else rank_zero or CallbackList([])
        # As SB3 completes a name; a dot in it is no suffix.
        self.checkpoint = None if checkpoint is None else Path(f"{str(checkpoint).removesuffix('.zip')}.zip")
        self.checkpoint_every = checkpoint_every
        self._detach: list[Callable[[], None]] = []
        self._together = False
        self._episodes: list[dict[str, Any]] = []

    @property
    def is_main(self) -> bool:
        """Whether this is the first rank."""
        return self.rank == 0

    def _init_callback(self) -> None:
        if self.is_main:
            self.child.init_callback(self.model)

    def _on_training_start(self) -> None:
        model = self.model
        self._agree()
        _start_as_the_first(model)
        self._separate(model)
        self._detach = [before_use(model, Average), statistics.attach(model.policy)]
        self._normalized = statistics.layers_with_moments(model.policy)
        self._together = True
        self._exchanged = self._saved = model.num_timesteps
        if self.is_main:
            self.child.on_training_start(self.locals, self.globals)
        else:
            _silence(model, self.locals["callback"])

    def _agree(self) -> None:
        """Let each rank know what another one cannot do, instead of waiting for it."""
        own: Settings | ValueError
        try:
            refusals.check(self.model)
            own = settings(self.model, self.locals["total_timesteps"])
        except ValueError as error:
            own = error
        except Exception as error:  # whatever it is, the others must not wait for this rank
            own = ValueError(f"{type(error).__name__}: {error}")
            own.__cause__ = error
        described = []
        for rank, other in enumerate(group.gathered(own)):
            if isinstance(other, ValueError):
                raise other if rank == self.rank else ValueError(f"rank {rank}: {other}")
            described.append(other)
        check_equal(described, self.may_differ)

    def _separate(self, model: BaseAlgorithm) -> None:
        """Give each rank environments and random numbers of its own; a resumed training has others than before."""
        drawn = int(np.random.default_rng().integers(2**31)) if model.seed is None else model.seed
        seed = group.from_first(drawn) + model.num_timesteps + self.rank * model.n_envs
        set_random_seed(seed, using_cuda=model.device.type == "cuda")
        model.action_space.seed(seed)
        assert model.env is not None
        model.env.seed(seed)
        model._last_obs = model.env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(model.n_envs, dtype=bool)

    def _on_rollout_start(self) -> None:
        statistics.combine(self._normalized)
        if self.is_main:
            self.child.on_rollout_start()

    def _on_step(self) -> bool:
        if not self._together:  # another rank has ended the training
            return False
        # Each rank has made as many steps.
        self.model.num_timesteps += self.model.n_envs * (self.world_size - 1)
        self.num_timesteps = self.model.num_timesteps
        self._episodes += [info["episode"] for info in self.locals["infos"] if "episode" in info]
        if not self.is_main:
            return True
        if self.checkpoint is not None and self.num_timesteps - self._saved >= self.checkpoint_every:
            self._saved = self.num_timesteps
            self._save(self.checkpoint)
        self.child.update_locals(self.locals)
        return self.child.on_step()

    def _save(self, path: Path) -> None:
        partial = path.with_name(f".{path.stem}.partial.zip")
        self.model.save(partial)
        partial.replace(path)

    def _on_rollout_end(self) -> None:
        if self.is_main:
            self.child.on_rollout_end()
        if self._some_rank_ends(False):
            self._leave()
        elif self.num_timesteps - self._exchanged >= EXCHANGE_EVERY:
            self._exchanged = self.num_timesteps
            self._exchange()

    def _exchange(self) -> None:
        everyone = group.gathered((self._episodes, drift.measure(self.model.policy)))
        drift.check([measured for _, measured in everyone], self.num_timesteps)
        self._episodes = []
        assert self.model.ep_info_buffer is not None
        for rank, (episodes, _) in enumerate(everyone):
            if rank != self.rank:
                self.model.ep_info_buffer.extend(episodes)

    def _some_rank_ends(self, this_one: bool) -> bool:
        ends = th.tensor([float(this_one)], device=self.model.device)
        return bool(group.add(ends).item())

    def _leave(self) -> None:
        """Do without the other ranks: there is nothing to wait for any more."""
        self._together = False
        for detach in self._detach:
            detach()
        self._detach = []

    def _on_training_end(self) -> None:
        if self._together:
            self._some_rank_ends(True)
            self._leave()
        # After an early end some ranks have made one step more.
        _start_as_the_first(self.model)
        if self.is_main:
            if self.checkpoint is not None:
                self._save(self.checkpoint)
            self.child.on_training_end()


def _start_as_the_first(model: BaseAlgorithm) -> None:
    """Take over the parameters, buffers and optimisers of the first rank, and variables such as SAC's coefficient."""
    tensors = list(model.policy.state_dict().values())
    tensors += [recursive_getattr(model, name) for name in model._get_torch_save_params()[1]]
    with th.no_grad():
        group.copy_first([tensor for tensor in tensors if isinstance(tensor, th.Tensor)])
    for optimizer in optimizers(model).values():
        optimizer.load_state_dict(group.from_first(optimizer.state_dict()))


def _silence(model: BaseAlgorithm, callback: BaseCallback) -> None:
    """Neither log nor show progress: the first rank does."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    if isinstance(callback, CallbackList):
        callback.callbacks[:] = [part for part in callback.callbacks if not isinstance(part, ProgressBarCallback)]
