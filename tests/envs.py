"""Environments for tests, observations drawn from spaces, and statistics of observations."""

import copy

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

CARTPOLE = (spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2))
ATARI_SPACE = spaces.Box(0, 255, (4, 84, 84), np.uint8)
PICTURE = spaces.Box(0, 255, (36, 40, 3), np.uint8)


def moderate(rng, shape):
    """Draw numbers of moderate size."""
    return rng.uniform(-1.0, 1.0, shape)


def far(rng, shape):
    """Draw numbers far from 0, with a mean of 5 and a deviation of 2."""
    return rng.normal(5.0, 2.0, shape)


def sample(space, rng, numbers=moderate):
    """Return an observation: of ``Box`` spaces of floats as drawn, whatever their bounds, of others uniform."""
    if isinstance(space, spaces.Dict):
        return {name: sample(entry, rng, numbers) for name, entry in space.spaces.items()}
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return numbers(rng, space.shape).astype(space.dtype)
    if isinstance(space, spaces.Box):
        high = space.high.astype(np.int64) + 1
        return rng.integers(space.low.astype(np.int64), high).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n))
    high = space.nvec if isinstance(space, spaces.MultiDiscrete) else 2
    return rng.integers(high, size=space.shape).astype(space.dtype)


def observations_of(space, n, seed=1, numbers=moderate):
    """Return a batch of observations."""
    rng = np.random.default_rng(seed)
    drawn = [sample(space, rng, numbers) for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
    return np.stack(drawn)


class AnyEnv(gym.Env):
    """Ten random observations an episode; the reward is the sum of the action. Of discrete actions, 1 is invalid."""

    def __init__(self, observation_space, action_space, numbers=moderate):
        self.observation_space = copy.deepcopy(observation_space)  # in which VecNormalize changes entries
        self.action_space = action_space
        self.drawn, self.numbers = observation_space, numbers

    def observe(self):
        """Return an observation."""
        return sample(self.drawn, self.np_random, self.numbers)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observe(), float(np.sum(action)), False, self.steps >= 10, {}

    def action_masks(self):
        return np.arange(self.action_space.n) != 1


class TargetEnv(gym.Env):
    """Ten steps of moving a point; bounds are neither symmetric nor equal, scales differ by dimension."""

    def __init__(self, low=(-1.0, 2.0), high=(3.0, 2.5)):
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)
        self.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.state = self.np_random.normal([0.0, 50.0, -3.0], [1.0, 20.0, 0.1])
        return self.state.copy(), {}

    def step(self, action):
        assert self.action_space.contains(np.asarray(action, np.float32)), action
        self.steps += 1
        self.state[0] += action[0] - 1.0
        return self.state.copy(), -float(abs(self.state[0])), False, self.steps >= 10, {}


class ImageEnv(AnyEnv):
    """Images of noise, channels last; each step is rewarded."""

    def __init__(self, space=PICTURE, numbers=moderate):
        super().__init__(space, spaces.Discrete(2), numbers)

    def step(self, action):
        observation, _, *ends = super().step(action)
        return observation, 1.0, *ends


class DictEnv(ImageEnv):
    """Such an image and a vector."""

    def __init__(self):
        entries = {"img": PICTURE, "vec": spaces.Box(-9, 9, (5,))}
        super().__init__(spaces.Dict(entries), lambda rng, shape: rng.normal(1.0, 3.0, shape))


def play(env, steps=30):
    """Return all that an agent would see, ends of episodes too."""
    env.action_space.seed(0)
    seen = [env.reset()]
    for _ in range(steps):
        observations, _, _, infos = env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))
        seen += [observations, *(info["terminal_observation"] for info in infos if "terminal_observation" in info)]
    return seen


def assert_equal(seen, expected):
    assert len(seen) == len(expected)
    for own, other in zip(seen, expected, strict=True):
        np.testing.assert_equal(own, other)


def save_statistics(path, env_id="CartPole-v1", n_stack=1, **kwargs):
    """Save statistics that were gathered for a while."""
    env = make_vec_env(lambda: gym.make(env_id), 2, seed=5)
    env = VecNormalize(VecFrameStack(env, n_stack) if n_stack > 1 else env, **kwargs)
    play(env)
    env.save(path)
    return path
