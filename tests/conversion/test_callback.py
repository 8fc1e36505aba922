"""A callback that converts the DQN while it learns, and leaves no trace in what it learns."""

import random

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from stable_baselines3.her import HerReplayBuffer

from sb3_spiking.conversion import ConversionCallback, SpikingQPolicy, callback
from sb3_spiking.conversion.report import Agreement
from sb3_spiking.evaluation.rollout import play
from tests.conftest import TargetEnv, small_model
from tests.envs import ImageEnv

KEYS = {f"conversion/{quantity}" for quantity in ("agreement", "snn_return", "q_error", "spikes")}


class Gamble(gym.Env):
    """Ten steps that show what all the generators of a training give next; action 0 is worth a reward."""

    observation_space = spaces.Box(0, 1, (4,), np.float32)
    action_space = spaces.Discrete(3)  # one for all the environments

    def see(self):
        draws = random.random(), np.random.rand(), th.rand(1).item(), self.action_space.sample() / 2  # noqa: NPY002
        return np.array(draws, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        return self.see(), float(action == 0), False, self.steps == 10, {}


class Memory(KVWriter):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        if "conversion/agreement" in key_values:
            self.rows.append({"step": step, **{key: key_values[key] for key in KEYS}})

    def close(self):
        pass


class Decide(BaseCallback):
    """Makes the DQN prefer one action from a step on, whatever it sees."""

    def __init__(self, **actions):
        super().__init__()
        self.actions = {int(step.removeprefix("from_")): action for step, action in actions.items()}

    def _on_step(self):
        if self.n_calls in self.actions:
            with th.no_grad():
                last = self.model.q_net.q_net[-1]
                last.weight.zero_()
                last.bias.copy_(th.eye(len(last.bias))[self.actions[self.n_calls]])
        return True


def agent(env="CartPole-v1", policy="MlpPolicy", **kwargs):
    return small_model(env, policy=policy, **{"algorithm": DQN, **kwargs})


def evaluations(model, steps, *callbacks, **kwargs):
    """Train, and return what the callback has logged."""
    memory = Memory()
    model.set_logger(Logger(None, [memory]))
    model.learn(steps, callback=CallbackList(list(callbacks)), **kwargs)
    return memory.rows


def everything(model):
    """Return all that a training has made, and what it would draw next."""
    statistics = model.get_vec_normalize_env()
    buffer = model.replay_buffer
    return {
        "weights": {name: weight.numpy() for name, weight in model.policy.state_dict().items()},
        "optimizer": [{k: np.asarray(v) for k, v in s.items()} for s in model.policy.optimizer.state.values()],
        "gradients": [parameter.grad.numpy() for parameter in model.q_net.parameters()],
        "modes": [module.training for module in model.policy.modules()],
        "buffer": [buffer.observations, buffer.actions, buffer.rewards, buffer.dones, buffer.pos],
        "statistics": None if statistics is None else [statistics.obs_rms.mean, statistics.ret_rms.var],
        "observation": model._last_obs,
        "episodes": [ended["r"] for ended in model.ep_info_buffer],
        "draws": Gamble().see(),
    }


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_watched_training_is_the_training_it_would_have_been(n_envs, normalize):
    def made():
        env = make_vec_env(Gamble, n_envs)
        return VecNormalize(env) if normalize else env

    def train(*callbacks):
        model = agent(made())
        return evaluations(model, 80, *callbacks), everything(model)

    # Some evaluations during the warm-up, whose actions come from the action space, and some after it.
    rows, watched = train(ConversionCallback(made(), eval_freq=7, n_eval_episodes=1, states=50, verbose=0))
    _, alone = train()
    np.testing.assert_equal(watched, alone)
    assert len(rows) == 80 // n_envs // 7


def test_logged_values_are_in_range_and_a_trained_dqn_keeps_its_decisions(capsys):
    rows = evaluations(agent(), 600, ConversionCallback(gym.make("CartPole-v1"), 200, n_eval_episodes=2))
    assert [row.pop("step") for row in rows] == [200, 400, 600]
    assert capsys.readouterr().out.count("spiking copy") == 3
    for row in rows:
        assert set(row) == KEYS
        assert 0.9 < row["conversion/agreement"] <= 1.0
        assert 1.0 <= row["conversion/snn_return"] <= 500.0
        assert 0.0 < row["conversion/q_error"] < 0.5
        assert 0.0 < row["conversion/spikes"] < 32 * 10
    # SB3's console refuses keys that are equal after truncation to 36 characters.
    assert all(len(key) <= 33 for key in KEYS)


def test_a_bad_conversion_is_told():
    watching = ConversionCallback("CartPole-v1", 300, n_eval_episodes=2, method="rate", time_steps=1)
    (row,) = evaluations(agent(), 300, watching)
    assert row["conversion/q_error"] > 0.05
    assert watching.best_snn.network.coding.time_steps == 1


def test_every_evaluation_plays_the_same_episodes():
    watching = ConversionCallback(make_vec_env("CartPole-v1", 2), 20, n_eval_episodes=3, seed=5)
    rows = evaluations(agent(learning_starts=1000), 60, watching)
    assert len({row["conversion/snn_return"] for row in rows}) == 1
    assert rows[0]["conversion/snn_return"] == np.mean(list(play(watching.best_snn, watching.eval_env, 3, seed=5)))


def test_the_best_is_kept_as_it_was_then(tmp_path):
    folder = tmp_path / "runs" / "first"
    watching = ConversionCallback(Gamble(), 10, n_eval_episodes=1, states=20, best_model_save_path=str(folder))
    model = agent(DummyVecEnv([Gamble]), learning_starts=1000)
    rows = evaluations(model, 40, Decide(from_1=1, from_11=0, from_31=2), watching)
    assert [row["conversion/snn_return"] for row in rows] == [0.0, 10.0, 10.0, 0.0]
    assert (watching.best_mean_return, watching.best_agreement) == (10.0, 1.0)
    assert watching.best_snn.origin["timesteps"] == 20  # the first of equal ones
    loaded = SpikingQPolicy.load(folder / "best_snn.zip")
    assert loaded.origin == watching.best_snn.origin
    observations = np.random.default_rng(0).random((20, 4), np.float32)
    np.testing.assert_array_equal(loaded.q_values(observations)[0], watching.best_snn.q_values(observations)[0])
    assert (loaded.predict(observations)[0] == 0).all()
    assert [path.name for path in folder.iterdir()] == ["best_snn.zip"]


def test_of_equal_returns_the_higher_agreement_is_kept(monkeypatch):
    agreements = iter([0.5, 0.75, 0.625])
    monkeypatch.setattr(callback, "agreement_of", lambda *q, spikes: Agreement(1, next(agreements), 0, 0, 0, None, 0))
    watching = ConversionCallback(Gamble(), 10, n_eval_episodes=1, states=20)
    evaluations(agent(DummyVecEnv([Gamble]), learning_starts=1000), 30, Decide(from_1=0), watching)
    assert watching.best_agreement == 0.75
    assert watching.best_snn.origin["timesteps"] == 20


def test_the_best_of_another_run_is_not_replaced(tmp_path):
    def watching():
        return ConversionCallback(Gamble(), 10, n_eval_episodes=1, states=20, best_model_save_path=tmp_path)

    first, model = watching(), agent(DummyVecEnv([Gamble]), learning_starts=1000)
    evaluations(model, 20, Decide(from_1=1), first)
    evaluations(model, 20, Decide(from_1=0), first, reset_num_timesteps=False)  # the same run, continued
    content = (tmp_path / "best_snn.zip").read_bytes()
    assert SpikingQPolicy.load(tmp_path / "best_snn.zip").origin["timesteps"] == 30
    other = agent(DummyVecEnv([Gamble]))
    with pytest.raises(ValueError, match=r"best_model_save_path='.*' has .* best_snn.zip .* name another folder"):
        other.learn(20, callback=watching())
    assert other.num_timesteps == 0
    assert (tmp_path / "best_snn.zip").read_bytes() == content


def check_decides_as(model, snn, env, share=0.9):
    """Compare the spiking copy with the model itself, not with what the conversion takes for it."""
    observations, equal = env.reset(), []
    for _ in range(30):
        actions, _ = model.predict(observations, deterministic=True)
        equal.append(actions == snn.predict(observations, deterministic=True)[0])
        observations, *_ = env.step(np.array([env.action_space.sample() for _ in actions]))
    assert np.mean(equal) > share


def test_qrdqn():
    contrib = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib")
    model = agent(algorithm=contrib.QRDQN, policy_kwargs={"n_quantiles": 7})
    watching = ConversionCallback(gym.make("CartPole-v1"), 200, n_eval_episodes=2)
    (row,) = evaluations(model, 200, watching)
    assert row["conversion/agreement"] > 0.9
    check_decides_as(model, watching.best_snn, make_vec_env("CartPole-v1", 2, seed=3))


def test_images_with_their_channels_last():
    model = agent(ImageEnv(), "CnnPolicy", learning_starts=1000, policy_kwargs={"net_arch": []})
    watching = ConversionCallback(ImageEnv(), 30, n_eval_episodes=2, states=16)
    (row,) = evaluations(model, 30, watching)
    assert row["conversion/snn_return"] == 10.0
    assert row["conversion/agreement"] > 0.8
    check_decides_as(model, watching.best_snn, model.get_env(), 0.8)


def test_scalars_which_the_buffer_makes_arrays_of():
    watching = ConversionCallback(gym.make("FrozenLake-v1"), 40, n_eval_episodes=2)
    model = agent("FrozenLake-v1", learning_starts=1000)
    assert evaluations(model, 40, watching)
    check_decides_as(model, watching.best_snn, make_vec_env("FrozenLake-v1", 2, seed=3))


def test_dicts_of_a_hindsight_buffer_without_a_complete_episode():
    def made():
        return BitFlippingEnv(n_bits=5, max_steps=5, continuous=False, discrete_obs_space=True)

    model = agent(made(), "MultiInputPolicy", replay_buffer_class=HerReplayBuffer)
    rows = evaluations(model, 12, ConversionCallback(made(), 1, n_eval_episodes=1, states=20))
    assert rows[0]["step"] > 2  # the buffer is not empty by then
    assert rows[-1]["step"] == 12


def test_thresholds_are_of_the_observations_that_the_policy_sees():
    class Large(Gamble):
        """Observations that are anything but normalised."""

        observation_space = spaces.Box(0, np.inf, (4,), np.float32)

        def see(self):
            return 1e4 * super().see()

    def made(training=True):
        return VecNormalize(make_vec_env(Large, 2), training=training)

    model = agent(made(), learning_starts=1000, train_freq=1)
    watching = ConversionCallback(made(training=False), 30, time_steps=6)
    (row,) = evaluations(model, 60, watching)
    assert row["conversion/agreement"] > 0.9  # without a digit too many
    np.testing.assert_array_equal(watching.eval_env.obs_rms.mean, model.env.obs_rms.mean)
    assert watching.eval_env.obs_rms is not model.env.obs_rms
    assert 0.0 <= row["conversion/snn_return"] <= 10.0
    assert 5 * row["conversion/snn_return"] == pytest.approx(round(5 * row["conversion/snn_return"]))  # not normalised


def test_before_learning_has_started_and_while_there_is_nothing_to_calibrate_on():
    model = agent(learning_starts=1000, train_freq=1)
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    rows = evaluations(model, 3, ConversionCallback(gym.make("CartPole-v1"), 1, n_eval_episodes=1))
    assert [row["step"] for row in rows] == [2, 3]  # SB3 calls before it stores a transition
    assert all(th.equal(weight, before[name]) for name, weight in model.policy.state_dict().items())


def test_a_training_that_diverges_is_warned_about_and_not_ended():
    class Diverge(BaseCallback):
        def _on_step(self):
            if self.n_calls == 15:
                with th.no_grad():
                    self.model.q_net.q_net[-1].bias.fill_(np.nan)
            return True

    watching = ConversionCallback(gym.make("CartPole-v1"), 10, n_eval_episodes=1)
    model = agent(learning_starts=1000)
    with pytest.warns(UserWarning, match=r"The DQN of step 20 is not converted: .* not finite"):
        rows = evaluations(model, 20, Diverge(), watching)
    assert [row["step"] for row in rows] == [10]
    assert model.num_timesteps == 20


def test_several_training_environments_count_their_steps():
    model = agent(make_vec_env("CartPole-v1", 4))
    rows = evaluations(model, 120, ConversionCallback(gym.make("CartPole-v1"), 10, n_eval_episodes=1))
    assert [row["step"] for row in rows] == [40, 80, 120]


def test_the_model_can_be_saved_and_the_copy_used_during_the_training(tmp_path):
    model = agent()
    watching = ConversionCallback(gym.make("CartPole-v1"), 25, n_eval_episodes=1)
    evaluations(model, 50, watching)
    model.save(tmp_path / "dqn.zip")
    assert DQN.load(tmp_path / "dqn.zip").num_timesteps == model.num_timesteps
    assert watching.best_snn.action_space is not model.action_space  # playing seeds it
    assert not {p.data_ptr() for p in watching.best_snn.parameters()} & {p.data_ptr() for p in model.q_net.parameters()}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "morse"}, "method='morse' is unknown; choose one of: 'ternary'"),
        ({"eval_freq": 0}, "eval_freq=0 must be an integer >= 1"),
        ({"n_eval_episodes": 0}, "n_eval_episodes=0"),
        ({"states": 2.5}, "states=2.5"),
        ({"seed": -1}, "seed=-1 must be an integer >= 0"),
        ({"seed": None}, "seed=None"),
        ({"time_steps": 16}, "time_steps=16: coding='ternary' takes at most 14"),
        ({"threshold": "most"}, "threshold='most' must look like"),
        ({"alpha": 0.5}, "method='ternary' has no alpha; it takes: time_steps"),
        ({"eval_env": "CartPole-v9"}, "eval_env='CartPole-v9' cannot be made: .* did you mean CartPole-v1"),
        ({"eval_env": Gamble}, "eval_env=<class .* must be an environment, its id or its recipe"),
    ],
)
def test_bad_values_are_told_at_once(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConversionCallback(**{"eval_env": Gamble(), **kwargs})


def normalized(env):
    return VecNormalize(make_vec_env(env))


BAD = {
    "another algorithm": (lambda: agent(TargetEnv(), algorithm=TD3), Gamble, "model=TD3 .* must be a DQN or QRDQN"),
    "on-policy": (lambda: PPO("MlpPolicy", Gamble()), Gamble, "model=PPO .* must be a DQN or QRDQN"),
    "spiking": (lambda: agent(policy="PopSANPolicy"), Gamble, "PopSANPolicy cannot be converted"),
    "Tanh": (
        lambda: agent(policy_kwargs={"activation_fn": th.nn.Tanh}),
        Gamble,
        "activation_fn=Tanh cannot be converted: .* train the DQN with ReLU",
    ),
    "observations": (
        agent,
        lambda: gym.make("Acrobot-v1"),
        r"eval_env does not fit the agent: it observes Box\(.*\(6,\).*, the agent .*\(4,\).*; make it as the training",
    ),
    "actions": (agent, Gamble, r"acts in Discrete\(3\), the agent .* and Discrete\(2\)"),
    "not normalised": (lambda: agent(normalized(Gamble)), Gamble, "eval_env=.* wrap both in the same way"),
    "normalised": (lambda: agent(Gamble()), lambda: normalized(Gamble), "eval_env=.* wrap both in the same way"),
    "wrapped otherwise": (
        lambda: agent(VecMonitor(normalized(Gamble))),
        lambda: normalized(Gamble),
        "eval_env=.* wrap both in the same way",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_told_before_training_starts(name):
    model, eval_env, message = BAD[name]
    model, watching = model(), ConversionCallback(eval_env(), 1)
    with pytest.raises(ValueError, match=message):
        model.learn(20, callback=watching)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("vectorized", [False, True])
def test_the_training_environment_is_not_played_in(vectorized):
    env = make_vec_env(Gamble, 2) if vectorized else Gamble()
    with pytest.raises(ValueError, match="eval_env is the training environment"):
        agent(env).learn(20, callback=ConversionCallback(env))


def test_an_evaluation_whose_episodes_never_end_does_not_hold_up_the_training():
    class Endless(Gamble):
        def step(self, action):
            return self.see(), 1.0, False, False, {}

    converting = ConversionCallback(Endless(), eval_freq=30, n_eval_episodes=1, max_steps=7, verbose=0)
    with pytest.warns(UserWarning, match="did not end within 7 steps and was cut"):
        evaluations(agent(Gamble()), 30, converting)
    assert converting.best_mean_return == 7.0
    with pytest.raises(ValueError, match="max_steps=0"):
        ConversionCallback(Endless(), max_steps=0)
