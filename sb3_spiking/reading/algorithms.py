"""The algorithm that a saved agent is trained with: named by its policy class, or else by what SB3 saved beside it."""

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
"""The modules whose policies are for one algorithm."""

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
"""Attributes of an algorithm that none behind it in this table has."""

OWN = ("stable_baselines3.", "sb3_contrib.", "sb3_spiking.")
"""Packages whose policies are known; others are of the user's own."""


def algorithm_of(policy_class: Name | None, data: Mapping[str, Any]) -> str | None:
    """
    Return the algorithm of an agent.

    :param policy_class: the class of its policy
    :param data: the agent's JSON
    :return: the algorithm's name; None if nothing tells
    """
    module = "" if policy_class is None else policy_class.module
    if module in OF_POLICIES:
        return OF_POLICIES[module]
    found = next((name for name, attributes in OF_ATTRIBUTES.items() if attributes <= data.keys()), None)
    # DDPG is TD3 without the noise in its targets.
    return "DDPG" if found == "TD3" and data["target_noise_clip"] == 0 else found


def is_known_policy(policy_class: Name) -> bool:
    """
    Tell whether a policy class is SB3's, sb3-contrib's or this package's.

    :param policy_class: the class
    """
    return policy_class.module.startswith(OWN)
