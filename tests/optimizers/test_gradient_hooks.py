import gymnasium as gym
import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC, TD3

from sb3_spiking.callbacks import FiniteGradientsCallback
from sb3_spiking.optimizers.gradient_hooks import on_gradients_ready, optimizers

SMALL = {"net_arch": [8]}


def ppo():
    return PPO("PopSANPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1, policy_kwargs=dict(SMALL))


def dqn():
    return DQN("PopSANPolicy", "CartPole-v1", learning_starts=20, batch_size=8, policy_kwargs=dict(SMALL))


def td3():
    return TD3("PopSANPolicy", "Pendulum-v1", learning_starts=20, batch_size=8, policy_kwargs=dict(SMALL))


def sac():
    return SAC("PopSANPolicy", "Pendulum-v1", learning_starts=20, batch_size=8, policy_kwargs=dict(SMALL))


every = pytest.mark.parametrize("make", [ppo, dqn, td3, sac])


def test_all_that_steps_is_found():
    assert set(optimizers(sac())) == {"actor.optimizer", "critic.optimizer", "ent_coef_optimizer"}
    assert set(optimizers(ppo())) == {"policy.optimizer"}


@every
def test_gradients_are_seen_before_they_are_clipped_or_used(make):
    model, seen = make(), []

    def action(parameters):
        before = {name: tensor.detach().clone() for name, tensor in parameters.items()}

        def act():
            gradients = [tensor.grad for tensor in parameters.values() if tensor.grad is not None]
            norm = th.stack([gradient.norm() for gradient in gradients]).norm().item()
            # Another optimiser may have stepped in between, but not the one that these belong to.
            seen.append((norm, all(th.equal(before[name], tensor) for name, tensor in parameters.items())))
            before.update({name: tensor.detach().clone() for name, tensor in parameters.items()})

        return act

    if hasattr(model, "max_grad_norm"):
        model.max_grad_norm = 1e-3
    detach = on_gradients_ready(model, action)
    model.learn(32)
    detach()
    assert len(seen) >= 1
    assert seen[0][1]
    assert max(norm for norm, _ in seen) > 1e-2
    count = len(seen)
    model.learn(64, reset_num_timesteps=False)
    assert len(seen) == count


class Broken(gym.RewardWrapper):
    """Rewards that no gradient survives."""

    def reward(self, reward):
        return float("nan")


@every
def test_the_parameter_of_a_gradient_that_is_not_finite_is_named(make):
    model = make()
    env_id = "CartPole-v1" if isinstance(model, PPO | DQN) else "Pendulum-v1"
    model.set_env(Broken(gym.make(env_id)))
    with pytest.raises(FloatingPointError, match=r"the gradient of .*(q_net|critic|value_net|mlp_extractor).* is NaN"):
        model.learn(64, FiniteGradientsCallback())


@every
def test_healthy_training_goes_on(make):
    model = make()
    model.learn(64, FiniteGradientsCallback())
    assert model.num_timesteps == 64
    assert not any(tensor._post_accumulate_grad_hooks for tensor in model.policy.parameters())
