"""Callback that trains one model by several processes."""

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

from sb3_spiking.arguments import positive_int
from sb3_spiking.distributed import checks, drift, group, norm_statistics
from sb3_spiking.distributed.gradient_average import GradientAverage
from sb3_spiking.distributed.settings import Settings, check_equal, settings
from sb3_spiking.files import replacing
from sb3_spiking.optimizers.gradient_hooks import on_gradients_ready, optimizers

EXCHANGE_EVERY = 1000
"""Environment steps, of all the ranks, between two exchanges of episodes and comparisons of networks."""


class DataParallelCallback(BaseCallback):
    """
    Train one model by several processes: every gradient is the average over all of them.

    Make it before the model (it chooses the GPU of this process), and give it to ``learn`` on each rank::

        parallel = DataParallelCallback(rank_zero=EvalCallback(...))      # evaluation on the first rank only
        model = TD3("PopSANPolicy", env, seed=0)
        model.learn(100_000, callback=parallel)
        if parallel.is_main:
            model.save("model")

    TD3, DDPG, SAC, TQC, CrossQ, PPO, A2C, DQN, QRDQN and MaskablePPO are supported with any policy; TRPO and ARS are
    refused. All the ranks start from the parameters and optimisers of the first one and sample with seeds of their own.
    The budget, ``learning_starts`` and schedules count the steps of all the ranks; batch sizes, ``train_freq``,
    ``n_steps`` and ``target_update_interval`` are those of each rank, so the effective batch is that of all the ranks
    together. Each rank normalises PPO's advantages and CrossQ's batches by itself.

    :param rank_zero: callbacks of the first rank alone: evaluation, checkpoints of your own; when they end the
        training, it ends on each rank
    :param checkpoint: file that the first rank saves the model to; an existing one is replaced by a complete one
    :param checkpoint_every: environment steps, of all the ranks, between two checkpoints, >= 1
    :param timeout: seconds without an answer after which another rank counts as lost, > 0; longer than an evaluation
    :param may_differ: settings that may differ between ranks: ``"environment"`` (names, wrappers and arguments, never
        the spaces) or ``"exploration"`` (action noise, DQN's schedule)
    :param verbose: not used
    :raises ValueError: if the process was not started by ``torchrun`` or the like, or an argument is not allowed; when
        training starts, if the algorithm or a setting cannot be trained on several ranks, or differs between them
    :raises RankLostError: if the other ranks cannot be reached; in training, if one does not answer
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
        self.checkpoint_every = positive_int("checkpoint_every", checkpoint_every)
        self.may_differ = (may_differ,) if isinstance(may_differ, str) else tuple(may_differ)
        group.join(timeout)
        self.rank = group.rank()
        self.world_size = group.size()
        self.child = CallbackList(rank_zero) if isinstance(rank_zero, list) else rank_zero or CallbackList([])
        # As SB3 completes names: it keeps whatever follows a dot.
        self.checkpoint = None if checkpoint is None else Path(f"{str(checkpoint).removesuffix('.zip')}.zip")
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
        _copy_first_rank(model)
        self._separate(model)
        self._detach = [on_gradients_ready(model, GradientAverage), norm_statistics.share_observations(model.policy)]
        self._normalized = norm_statistics.batch_norms(model.policy)
        self._together = True
        self._exchanged = self._saved = model.num_timesteps
        if self.is_main:
            self.child.on_training_start(self.locals, self.globals)
        else:
            _silence(model, self.locals["callback"])

    def _agree(self) -> None:
        """Compare settings; an error on one rank is raised on all, so that none waits for another."""
        own: Settings | ValueError
        try:
            checks.check(self.model)
            own = settings(self.model, self.locals["total_timesteps"])
        except ValueError as error:
            own = error
        except Exception as error:  # any error: the others must not wait for this rank
            own = ValueError(f"{type(error).__name__}: {error}")
            own.__cause__ = error
        described = []
        for rank, other in enumerate(group.all_gather_object(own)):
            if isinstance(other, ValueError):
                raise other if rank == self.rank else ValueError(f"rank {rank}: {other}")
            described.append(other)
        check_equal(described, self.may_differ)

    def _separate(self, model: BaseAlgorithm) -> None:
        """Seed environments and random numbers by rank and by steps done, so that a resumed training differs too."""
        drawn = int(np.random.default_rng().integers(2**31)) if model.seed is None else model.seed
        seed = group.broadcast_object(drawn) + model.num_timesteps + self.rank * model.n_envs
        set_random_seed(seed, using_cuda=model.device.type == "cuda")
        model.action_space.seed(seed)
        assert model.env is not None
        model.env.seed(seed)
        model._last_obs = model.env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(model.n_envs, dtype=bool)

    def _on_rollout_start(self) -> None:
        norm_statistics.synchronize(self._normalized)
        if self.is_main:
            self.child.on_rollout_start()

    def _on_step(self) -> bool:
        if not self._together:  # another rank has ended the training
            return False
        # Each of the other ranks has made as many steps.
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
        with replacing(path) as (partial,):
            self.model.save(partial)

    def _on_rollout_end(self) -> None:
        if self.is_main:
            self.child.on_rollout_end()
        if self._some_rank_ends(False):
            self._leave()
        elif self.num_timesteps - self._exchanged >= EXCHANGE_EVERY:
            self._exchanged = self.num_timesteps
            self._exchange()

    def _exchange(self) -> None:
        everyone = group.all_gather_object((self._episodes, drift.measure(self.model.policy)))
        drift.check([measured for _, measured in everyone], self.num_timesteps)
        self._episodes = []
        assert self.model.ep_info_buffer is not None
        for rank, (episodes, _) in enumerate(everyone):
            if rank != self.rank:
                self.model.ep_info_buffer.extend(episodes)

    def _some_rank_ends(self, this_one: bool) -> bool:
        ends = th.tensor([float(this_one)], device=self.model.device)
        return bool(group.all_reduce(ends).item())

    def _leave(self) -> None:
        """Stop communicating with the other ranks."""
        self._together = False
        for detach in self._detach:
            detach()
        self._detach = []

    def _on_training_end(self) -> None:
        if self._together:
            self._some_rank_ends(True)
            self._leave()
        # After an early end some ranks have made one more step than others.
        _copy_first_rank(self.model)
        if self.is_main:
            if self.checkpoint is not None:
                self._save(self.checkpoint)
            self.child.on_training_end()


def _copy_first_rank(model: BaseAlgorithm) -> None:
    """Copy parameters, buffers and optimisers of the first rank, and variables such as SAC's entropy coefficient."""
    tensors = list(model.policy.state_dict().values())
    tensors += [recursive_getattr(model, name) for name in model._get_torch_save_params()[1]]
    with th.no_grad():
        group.broadcast([tensor for tensor in tensors if isinstance(tensor, th.Tensor)])
    for optimizer in optimizers(model).values():
        optimizer.load_state_dict(group.broadcast_object(optimizer.state_dict()))


def _silence(model: BaseAlgorithm, callback: BaseCallback) -> None:
    """Turn off logging and progress bars, which the first rank has."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    if isinstance(callback, CallbackList):
        callback.callbacks[:] = [part for part in callback.callbacks if not isinstance(part, ProgressBarCallback)]
