import copy

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_spiking.policies import RunningNormExtractor
from sb3_spiking.policies.td3 import PopSANPolicy
from sb3_spiking.snn import SpikingNetwork
from tests.conftest import TargetEnv, small_model


def observations(n=64):
    return np.random.default_rng(0).normal([0.0, 50.0, -3.0], [1.0, 20.0, 0.1], (n, 3))


@pytest.mark.parametrize("algorithm", [TD3, DDPG])
def test_trains_by_class(env, algorithm):
    model = small_model(env, algorithm, PopSANPolicy)
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(60)
    after = model.policy.state_dict()
    assert all(th.isfinite(value).all() for value in after.values())
    unchanged = [key for key in after if "actor.mu" in key and th.equal(before[key], after[key])]
    assert not unchanged


@pytest.mark.parametrize("settings", [{"gradient_steps": 4}, {"gradient_steps": -1, "train_freq": (1, "episode")}])
def test_several_gradient_steps(env, settings):
    small_model(env, **settings).learn(60)


def test_training_goes_on_after_load(trained, env, tmp_path):
    trained.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=env)
    loaded.learn(40, reset_num_timesteps=False)
    assert loaded.policy.actor.optimizer.param_groups[0]["lr_scale"] == trained.policy.actor_lr_scale


def test_policy_save_and_load_keep_every_argument(env, tmp_path):
    policy_kwargs = {
        "time_steps": 3,
        "neuron": "plif",
        "decoder_population": 4,
        "encoder_population": 6,
        "actor_lr_scale": 0.7,
        "normalize_observations": False,
        "mean_range": (-5.0, 5.0),
        "n_critics": 3,
    }
    model = small_model(env, policy_kwargs=policy_kwargs).learn(40)
    model.policy.save(tmp_path / "policy.pt")
    loaded = PopSANPolicy.load(tmp_path / "policy.pt")
    np.testing.assert_array_equal(loaded.predict(observations())[0], model.predict(observations())[0])
    assert loaded._get_constructor_parameters().keys() == model.policy._get_constructor_parameters().keys()
    assert loaded.spiking_options == model.policy.spiking_options
    assert loaded.actor_lr_scale == 0.7
    assert len(loaded.critic.q_networks) == 3


def test_actor_describes_its_own_construction(trained):
    actor = trained.policy.actor
    parameters = actor._get_constructor_parameters()
    rebuilt = type(actor)(**parameters)
    rebuilt.load_state_dict(actor.state_dict())
    for part in (actor, rebuilt):
        part.set_training_mode(False)
    batch = th.as_tensor(observations()).float()
    assert th.equal(rebuilt(batch), actor(batch))


def test_set_parameters(trained, env, tmp_path):
    trained.save(tmp_path / "model")
    other = small_model(env, seed=1)
    other.set_parameters(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(observations())[0], trained.predict(observations())[0])


def test_critic_is_the_one_of_mlp_policy(env):
    model, ann = small_model(env), small_model(env, policy="MlpPolicy")
    assert type(model.policy.critic) is type(ann.policy.critic)
    shapes = [[p.shape for p in policy.critic.parameters()] for policy in (model.policy, ann.policy)]
    assert shapes[0] == shapes[1]


def test_polyak_pairs_parameters_by_name_and_nothing_else(env):
    model = small_model(env, tau=0.25, policy_delay=1, gradient_steps=1, policy_kwargs={"neuron": "plif"})
    model.learn(30)
    policy = model.policy
    pairs = [(policy.actor, policy.actor_target), (policy.critic, policy.critic_target)]
    for online, target in pairs:
        assert [name for name, _ in online.named_parameters()] == [name for name, _ in target.named_parameters()]
    before = [copy.deepcopy(target.state_dict()) for _, target in pairs]
    model.train(gradient_steps=1, batch_size=16)
    for (online, target), old in zip(pairs, before, strict=True):
        for name, parameter in online.named_parameters():
            expected = 0.75 * old[name] + 0.25 * parameter
            th.testing.assert_close(target.state_dict()[name], expected, msg=name)
        for name, buffer in online.named_buffers():
            assert "running_" in name
            th.testing.assert_close(target.state_dict()[name], buffer, msg=name)


def test_actor_and_critic_share_one_set_of_statistics(trained):
    policy = trained.policy
    assert policy.actor.features_extractor is policy.critic.features_extractor
    assert policy.actor_target.features_extractor is policy.critic_target.features_extractor
    assert policy.actor.features_extractor is not policy.actor_target.features_extractor
    assert policy.actor.features_extractor.running_count > 0


def test_statistics_do_not_change_when_the_agent_acts(trained):
    before = copy.deepcopy(trained.policy.state_dict())
    trained.predict(observations())
    trained.policy.set_training_mode(True)
    trained.policy.spiking_features(th.as_tensor(observations()))
    assert trained.actor.training
    evaluate_policy(trained, Monitor(TargetEnv()), n_eval_episodes=2)
    after = trained.policy.state_dict()
    assert all(th.equal(before[key], after[key]) for key in before)


def test_actions_reach_both_ends_of_bounds_that_are_not_symmetric(env):
    model = small_model(env)
    with th.no_grad():
        model.actor.mu.decoder.weight.zero_()
        for bias, bound in ((50.0, env.action_space.high), (-50.0, env.action_space.low)):
            model.actor.mu.decoder.bias.fill_(bias)
            np.testing.assert_allclose(model.predict(observations(1)[0])[0], bound)
        model.actor.mu.decoder.bias.zero_()
        middle = (env.action_space.low + env.action_space.high) / 2
        np.testing.assert_allclose(model.predict(observations(1)[0])[0], middle)


def test_actor_learns_at_a_share_of_the_rate_that_sb3_shows(env):
    steps = {}
    for scale in (1.0, 0.1):
        model = small_model(env, learning_rate=1e-3, policy_kwargs={"actor_lr_scale": scale})
        model.learn(20)
        before = model.actor.mu.decoder.bias.detach().clone()
        model.policy_delay = 1
        model.train(1, 16)
        steps[scale] = (model.actor.mu.decoder.bias.detach() - before).abs().max().item()
        assert model.actor.optimizer.param_groups[0]["lr"] == 1e-3
    # Adam's first step has the size of the learning rate.
    assert steps[1.0] == pytest.approx(1e-3, rel=1e-3)
    assert steps[0.1] == pytest.approx(1e-4, rel=1e-2)


def test_a_copied_policy_keeps_its_learning_rate_scale(env):
    policy = copy.deepcopy(small_model(env, policy_kwargs={"actor_lr_scale": 0.1}).policy)
    policy.actor.optimizer.param_groups[0]["lr"] = 1e-3
    before = policy.actor.mu.decoder.bias.detach().clone()
    policy.actor(th.as_tensor(observations()).float()).sum().backward()
    policy.actor.optimizer.step()
    assert (policy.actor.mu.decoder.bias - before).abs().max().item() == pytest.approx(1e-4, rel=1e-2)
    assert policy.actor.optimizer.param_groups[0]["lr"] == 1e-3


def test_defaults_are_the_papers(env):
    policy = TD3("PopSANPolicy", env, buffer_size=10).policy
    network = policy.actor.mu
    assert isinstance(network, SpikingNetwork)
    assert [layer.synapses.out_features for layer in network.layers] == [256, 256, 20]
    assert network.encoder.mean.min() == -3.0
    assert network.encoder.mean.max() == 3.0
    assert network.encoder.std[0, 0].item() == pytest.approx(0.15**0.5)
    assert network.encoder.time_steps == 5
    for layer in network.layers:
        node = layer.neuron
        assert (node.c_decay, node.v_decay, node.v_threshold, node.v_reset) == (0.5, 0.75, 0.5, 0.0)
        assert type(node.surrogate_function).__name__ == "Rect"
        assert node.surrogate_function.alpha == 1.0
    assert isinstance(policy.actor.features_extractor, RunningNormExtractor)
    assert policy.actor.features_extractor.clip == 3.0


def test_the_advice_for_dict_observations_works():
    class DictEnv(TargetEnv):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Dict({"a": spaces.Box(-9, 9, (2,)), "b": spaces.Discrete(3)})

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), *super().step(action)[1:]

    small_model(gym.wrappers.FlattenObservation(DictEnv())).learn(40)


@pytest.mark.parametrize(
    ("policy_kwargs", "message"),
    [
        ({"time_steps": 0}, "time_steps=0"),
        ({"neuron": "sigmoid"}, "neuron='sigmoid'"),
        ({"net_arch": []}, r"net_arch=\[\]"),
        ({"net_arch": 256}, "net_arch=256"),
        ({"net_arch": {"pi": [8]}}, "'pi' and 'qf'"),
        ({"net_arch": {"pi": [], "qf": [8]}}, r"net_arch\['pi'\]"),
        ({"actor_lr_scale": 0.0}, "actor_lr_scale=0.0"),
        ({"mean_range": (3, -3)}, "mean_range"),
        ({"mean_range": "wide"}, "mean_range='wide'"),
        ({"features_extractor_class": RunningNormExtractor}, "normalize_observations=False"),
    ],
)
def test_bad_arguments_are_named(env, policy_kwargs, message):
    with pytest.raises(ValueError, match=message):
        TD3("PopSANPolicy", env, policy_kwargs=policy_kwargs)


def test_spiking_activation_fn_is_refused(env):
    from spikingjelly.activation_based.neuron import LIFNode

    with pytest.raises(ValueError, match=r"activation_fn=LIFNode.*neuron='cuba_lif'"):
        TD3("PopSANPolicy", env, policy_kwargs={"activation_fn": LIFNode})


def test_unknown_argument_is_refused(env):
    with pytest.raises(TypeError, match="time_stepz"):
        TD3("PopSANPolicy", env, policy_kwargs={"time_stepz": 3})


def test_critics_activation_fn_is_sb3s(env):
    model = small_model(env, policy_kwargs={"activation_fn": th.nn.Tanh}).learn(30)
    assert any(isinstance(module, th.nn.Tanh) for module in model.critic.modules())


def test_nan_is_named_and_harms_nothing(trained):
    bad = observations(1)[0]
    bad[1] = np.nan
    with pytest.raises(ValueError, match="dimension 1"):
        trained.predict(bad)
    assert np.isfinite(trained.predict(observations())[0]).all()


def test_infinity_is_clipped_like_any_value_out_of_range(trained):
    infinite, far = observations(2)
    far[:] = infinite
    infinite[1], far[1] = np.inf, 1e6
    np.testing.assert_array_equal(trained.predict(infinite)[0], trained.predict(far)[0])


def test_infinity_without_normalisation_is_named(env):
    model = small_model(env, policy_kwargs={"normalize_observations": False})
    with pytest.raises(ValueError, match="dimension 0"):
        model.predict(np.array([-np.inf, 0.0, 0.0]))


def test_normalisation_under_vec_normalize_is_warned_about():
    env = VecNormalize(DummyVecEnv([TargetEnv]), norm_reward=False)
    with pytest.warns(UserWarning, match="normalize_observations=False"):
        small_model(env, learning_starts=200, batch_size=128).learn(205)


def test_vec_normalize_alone_works(recwarn):
    env = VecNormalize(DummyVecEnv([TargetEnv]), norm_reward=False, clip_obs=3.0)
    policy_kwargs = {"normalize_observations": False}
    small_model(env, learning_starts=200, batch_size=128, policy_kwargs=policy_kwargs).learn(205)
    assert not [warning for warning in recwarn if "normalize_observations" in str(warning.message)]


def test_plain_observations_are_not_warned_about(env, recwarn):
    small_model(env, learning_starts=200, batch_size=128).learn(205)
    assert not [warning for warning in recwarn if "normalize_observations" in str(warning.message)]
