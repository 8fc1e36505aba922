"""The published PopSAN actor in NumPy, from the equations of Tang et al. (2020), and a checkpoint of our own for it."""

import numpy as np

THRESHOLD, ENCODER_THRESHOLD = np.float32(0.5), np.float32(0.999)
CURRENT_DECAY, MEMBRANE_DECAY = np.float32(0.5), np.float32(0.75)
TIME_STEPS = 5


def activities(arrays, observations):
    """Return the activities of the encoder populations: ``[N, obs_dim] -> [N, obs_dim * population]``."""
    z = (observations - arrays["obs_mean"]) / np.sqrt(arrays["obs_var"] + np.finfo(np.float32).eps)
    clipped = np.clip(z, -3.0, 3.0).astype(np.float32)[:, :, None]
    distance = (clipped - arrays["encoder/mean"]) / arrays["encoder/std"]
    return np.exp(np.float32(-0.5) * distance * distance).reshape(len(observations), -1)


def encode(arrays, observations):
    """Return the encoder's spikes, ``[T, N, neurons]``, and the least gap to the threshold, ``[N]``."""
    activity = activities(arrays, observations)
    membrane, margin, spikes = np.zeros_like(activity), np.full(len(activity), np.inf), []
    for _ in range(TIME_STEPS):
        membrane = membrane + activity
        margin = np.minimum(margin, np.abs(membrane - ENCODER_THRESHOLD).min(axis=1))
        spikes.append((membrane > ENCODER_THRESHOLD).astype(np.float32))
        membrane = membrane - spikes[-1] * ENCODER_THRESHOLD
    return np.stack(spikes), margin


def fire(current):
    """Return the spikes of current-based LIF neurons that reset to 0: ``[T, N, neurons]`` to the same."""
    c = v = s = np.zeros_like(current[0])
    spikes = []
    for step in current:
        c = c * CURRENT_DECAY + step
        v = v * MEMBRANE_DECAY * (1 - s) + c
        s = (v > THRESHOLD).astype(np.float32)
        spikes.append(s)
    return np.stack(spikes)


def layers_of(arrays):
    """Return the names of the layers in their order."""
    hidden = {name.rsplit("/", 1)[0] for name in arrays if name.startswith("snn/hidden_layers/")}
    return [*sorted(hidden), "snn/out_pop_layer"]


def act(arrays, observations):
    """Return the actions of a checkpoint with an action limit of 1: ``[N, obs_dim] -> [N, act_dim]``."""
    spikes, _ = encode(arrays, observations)
    for layer in layers_of(arrays):
        spikes = fire(spikes @ arrays[f"{layer}/weight"].T + arrays[f"{layer}/bias"])
    weight = arrays["decoder/decoder/weight"][:, 0]
    rates = spikes.mean(axis=0).reshape(len(observations), *weight.shape)
    return np.tanh((rates * weight).sum(axis=2) + arrays["decoder/decoder/bias"])


def own_checkpoint(obs_dim=17, act_dim=6, hidden=(256, 256), population=10, n=250, seed=0):
    """
    Return a random actor in the published names, observations, and what the equations above make of them.

    Weights are multiples of 1/64 and biases odd multiples of 1/128: sums of them are exact in float32 in any order, and
    no membrane reaches its threshold exactly, so that rounding decides no spike of a layer. Observations with an
    encoder membrane next to its threshold are left out.
    """
    rng = np.random.default_rng(seed)
    sizes = [obs_dim * population, *hidden, act_dim * population]
    names = [*(f"snn/hidden_layers/{index}" for index in range(len(hidden))), "snn/out_pop_layer"]
    arrays = {
        "encoder/mean": np.linspace(-3, 3, population) + rng.normal(0.0, 0.1, (1, obs_dim, population)),
        "encoder/std": rng.uniform(0.3, 0.6, (1, obs_dim, population)),
        "decoder/decoder/weight": rng.normal(0.0, 0.5, (act_dim, 1, population)),
        "decoder/decoder/bias": rng.normal(0.0, 0.1, act_dim),
    }
    for name, inputs, outputs in zip(names, sizes, sizes[1:], strict=False):
        arrays[f"{name}/weight"] = rng.integers(-11, 12, (outputs, inputs)) / 64
        arrays[f"{name}/bias"] = (2 * rng.integers(-8, 8, outputs) + 1) / 128
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays["obs_mean"], arrays["obs_var"] = rng.normal(0.0, 5.0, obs_dim), rng.uniform(0.1, 20.0, obs_dim)
    drawn = rng.normal(arrays["obs_mean"], 1.5 * np.sqrt(arrays["obs_var"]), (2 * n, obs_dim))
    observations = drawn[encode(arrays, drawn)[1] > 1e-4][:n]
    assert len(observations) == n
    counts = encode(arrays, observations)[0].sum(axis=0)
    return {
        **arrays,
        "observations": observations,
        "actions": act(arrays, observations),
        "encoder_spike_counts": counts,
        "returns_seed0to4": np.full(5, np.nan),
    }
