import numpy as np
import pytest
from gymnasium import spaces

from sb3_spiking.evaluation.states import ObservationSample, random_observations


def test_states_drawn_from_huge_bounds_are_of_moderate_size():
    # CartPole's velocities have none, which older versions of gym called 3.4e38.
    huge = float(np.finfo(np.float32).max)
    for bound in (np.inf, huge, 1e20):
        limits = np.array([4.8, bound, 0.42, bound], np.float32)
        drawn = random_observations(spaces.Box(-limits, limits), 1000, seed=0)
        assert drawn.shape == (1000, 4)
        assert np.abs(drawn).max() < 10.0
        assert (np.abs(drawn[:, [0, 2]]) <= limits[[0, 2]]).all()
        assert drawn.std(axis=0).min() > 0.1
    half_open = random_observations(spaces.Box(0.0, huge, (2,), np.float32), 1000, seed=0)
    assert 0.0 <= half_open.min() < half_open.max() < 20.0


def test_drawing_repeats_under_a_seed():
    space = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "b": spaces.Discrete(3)})
    first, second, other = (random_observations(space, 20, seed) for seed in (1, 1, 2))
    for name in space.spaces:
        np.testing.assert_array_equal(first[name], second[name])
        assert not np.array_equal(first[name], other[name])


def test_entries_of_a_dict_are_not_drawn_alike():
    space = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "b": spaces.Box(-1.0, 1.0, (2,))})
    drawn = random_observations(space, 20, seed=1)
    assert not np.array_equal(drawn["a"], drawn["b"])


@pytest.mark.parametrize("n_envs", [1, 2, 8, 20])
@pytest.mark.parametrize("calls", [100, 600, 5000])
def test_a_sample_is_even_over_time_and_environments(n_envs, calls):
    # Of a counter modulo the number of environments, dropping every second one would leave the even ones.
    sample = ObservationSample(256)
    for call in range(calls):
        sample.add(np.array([[index, call] for index in range(n_envs)]))
    kept = sample.observations()
    assert len(kept) == calls if calls < 512 else 256 <= len(kept) <= 512
    for column, most in ((0, n_envs), (1, calls)):
        counts = np.histogram(kept[:, column], bins=min(most, 20), range=(0, most))[0] / len(kept)
        assert np.abs(counts - 1 / len(counts)).max() < 0.02


def test_a_sample_of_a_dict_keeps_its_entries_together():
    sample = ObservationSample(4)
    for call in range(20):
        sample.add({"a": np.array([[call, 0], [call, 1]]), "b": np.array([2 * call, 2 * call + 1])})
    kept = sample.observations()
    np.testing.assert_array_equal(2 * kept["a"][:, 0] + kept["a"][:, 1], kept["b"])
