"""Algorithm of a saved agent: told by its policy class, or else by the attributes that SB3 saved with it."""

from collections.abc import Mapping
from typing import Any

from sb3_spiking.reading.inert_pickles import Name

OF_POLICIES = {
    "stable_baselines3.dqn.policies": "DQN",
    "stable_baselines3.sac.policies": "SAC",
    "sb3_contrib.ars.policies": "ARS",
    "sb3_contrib.common.maskable.policies": "MaskablePPO",
    "sb3_contrib.common.recurrent.policies": "RecurrentPPO",
    "sb3_contrib.crossq.policies": "CrossQ",
    "sb3_contrib.qrdqn.policies": "QRDQN",
    "sb3_contrib.tqc.policies": "TQC",
    "sb3_spiking.policies.dqn": "DQN",
    "sb3_spiking.policies.sac": "SAC",
    "sb3_spiking.policies.contrib.crossq": "CrossQ",
    "sb3_spiking.policies.contrib.maskable": "MaskablePPO",
    "sb3_spiking.policies.contrib.qrdqn": "QRDQN",
    "sb3_spiking.policies.contrib.tqc": "TQC",
}
"""Modules whose policies belong to one algorithm."""

OF_ATTRIBUTES = {
    "ARS": {"delta_std"},
    "TRPO": {"cg_max_steps"},
    "PPO": {"clip_range"},
    "A2C": {"gae_lambda"},
    "TQC": {"top_quantiles_to_drop_per_net"},
    "CrossQ": {"policy_delay", "ent_coef"},
    "SAC": {"target_entropy"},
    "TD3": {"target_noise_clip"},
    "QRDQN": {"exploration_rate", "n_quantiles"},
    "DQN": {"exploration_rate"},
}
"""Attributes that an algorithm has, and those after it in this table do not."""

OWN = ("stable_baselines3.", "sb3_contrib.", "sb3_spiking.")
"""Packages with known policies."""


def algorithm_of(policy_class: Name | None, data: Mapping[str, Any]) -> str | None:
    """Return the name of an agent's algorithm, None if neither its policy class nor its JSON tells."""
    module = "" if policy_class is None else policy_class.module
    if module in OF_POLICIES:
        return OF_POLICIES[module]
    found = next((name for name, attributes in OF_ATTRIBUTES.items() if attributes <= data.keys()), None)
    # DDPG is TD3 without the noise in its targets.
    return "DDPG" if found == "TD3" and data["target_noise_clip"] == 0 else found


def is_known_policy(policy_class: Name) -> bool:
    """Return whether a policy class is SB3's, sb3-contrib's or this package's."""
    return policy_class.module.startswith(OWN)
