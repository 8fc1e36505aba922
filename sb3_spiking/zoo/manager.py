"""rl_zoo3's experiments, with a search of the spiking policies' arguments. Needs rl_zoo3."""

from collections.abc import Callable
from typing import Any

from rl_zoo3.exp_manager import ALGOS, HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER, ExperimentManager

from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.zoo.search import SearchSpace, split


class SpikingExperimentManager(ExperimentManager):
    """
    An experiment of rl_zoo3 that searches the arguments of spiking policies too.

    rl_zoo3 replaces ``policy_kwargs`` by sampled ones. Here the two are joined: arguments set by the hyperparameters
    stay, except for the sizes of the layers.
    """

    trial_id: int | None

    def hyperparameters_optimization(self) -> None:
        """Run the trials and write the report."""
        sampler = HYPERPARAMS_SAMPLER[self.algo]
        policy = self._policy()
        if policy is not None:
            env = self.create_envs(1, no_log=True)
            env.close()
            space = SearchSpace(policy, self._hyperparams.get("policy_kwargs") or {}, env.observation_space)
            HYPERPARAMS_SAMPLER[self.algo] = _joined(sampler, space)
        try:
            super().hyperparameters_optimization()
        finally:
            HYPERPARAMS_SAMPLER[self.algo] = sampler

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Read the hyperparameters, joined with those of a trial if one is given.

        :return: hyperparameters, to use and to save
        """
        trial, self.trial_id = self.trial_id, None  # rl_zoo3 would drop policy_kwargs, and take trial 0 for none
        hyperparams, saved = super().read_hyperparameters()
        if trial is None:
            return hyperparams, saved
        if not (self.storage and self.study_name):
            raise ValueError(f"--trial-id {trial} needs --storage and --study-name, as the search had them")
        loaded = self.load_trial(self.storage, self.study_name, trial)
        for values in (hyperparams, saved):
            joined = {**(values.get("policy_kwargs") or {}), **loaded["policy_kwargs"]}
            values.update({**loaded, "policy_kwargs": joined, **(self.custom_hyperparams or {})})
        print(f"Trial {trial}: {dict(loaded, policy_kwargs=saved['policy_kwargs'])}")
        return hyperparams, saved

    def load_trial(
        self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True
    ) -> dict[str, Any]:
        """
        Load the hyperparameters of a trial.

        :param storage: storage of the study
        :param study_name: name of the study
        :param trial_id: number of the trial; the best one if None
        :param convert: convert the trial's parameters to arguments of the algorithm
        :return: hyperparameters
        """
        params: dict[str, Any] = super().load_trial(storage, study_name, trial_id, convert=False)
        if not convert:
            return params
        own, spiking = split(params)
        loaded: dict[str, Any] = HYPERPARAMS_CONVERTER[self.algo](own)
        if loaded.get("noise_type", "none of this algorithm") is None:  # rl_zoo3 would hand it on
            del loaded["noise_type"], loaded["noise_std"]
        loaded["policy_kwargs"] = {**(loaded.get("policy_kwargs") or {}), **spiking}
        return loaded

    def _policy(self) -> type[SpikingPolicy] | None:
        """Return the spiking policy of the experiment; None for another policy."""
        name = self._hyperparams["policy"]
        policy = ALGOS[self.algo].policy_aliases.get(name) if isinstance(name, str) else name
        return policy if isinstance(policy, type) and issubclass(policy, SpikingPolicy) else None


def _joined(sampler: Callable[..., dict[str, Any]], space: SearchSpace) -> Callable[..., dict[str, Any]]:
    """Make a sampler that keeps the fixed arguments and adds spiking ones."""

    def sample(trial: Any, *args: Any) -> dict[str, Any]:
        sampled = sampler(trial, *args)
        policy_kwargs = {**space.fixed, **(sampled.get("policy_kwargs") or {}), **space.suggest(trial)}
        return {**sampled, "policy_kwargs": policy_kwargs}

    return sample
