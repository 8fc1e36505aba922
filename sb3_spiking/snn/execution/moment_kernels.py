"""Kernel for the running mean and variance of observations."""

import numpy as np

from sb3_spiking.snn.execution.compilation import jit


@jit
def merge(batch, mean, var, count):  # type: ignore[no-untyped-def]
    """Merge a batch ``[N, D]`` into ``mean`` and ``var``, ``[D]``, and ``count``, ``[1]``; return whether it could."""
    size, dimensions = batch.shape
    # Mean, then variance of the batch.
    means, variances = np.zeros(dimensions), np.zeros(dimensions)
    for n in range(size):
        for d in range(dimensions):
            means[d] += batch[n, d]
    means /= size
    for n in range(size):
        for d in range(dimensions):
            residual = batch[n, d] - means[d]
            variances[d] += residual * residual
    variances /= size
    # Squares that float32 cannot hold, NaN among them.
    for d in range(dimensions):
        if not np.isfinite(np.float32(variances[d] + means[d] * means[d])):
            return False
    # Merge by the share of the batch in all the observations.
    total = count[0] + np.float32(size)
    share = size / total
    for d in range(dimensions):
        delta = means[d] - mean[d]
        mean[d] += share * delta
        var[d] = (1.0 - share) * (var[d] + share * delta * delta) + share * variances[d]
    count[0] = total
    return True
