"""Mean and variance of observations: of a batch, and merged over batches (Chan et al., 1979)."""

import torch as th

from sb3_spiking.snn.observers import operations_are_traced


def moments_of(batch: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    Return mean and variance of each dimension, ``[features_dim]``.

    :param batch: ``[N, features_dim]``
    """
    # Two passes; var_mean over the first dimension takes ten times as long. The second pass corrects the mean, which is
    # rounded to some units in its last place: with a mean of 1e6 that is a good part of a deviation of 1.
    mean = batch.mean(dim=0)
    residuals = batch - mean
    correction = residuals.mean(dim=0)
    return mean + correction, (residuals - correction).square_().mean(dim=0)


def check_moments(batch: th.Tensor, mean: th.Tensor, var: th.Tensor) -> None:
    """
    Check that a batch can be added to the statistics.

    :param batch: observations, ``[N, features_dim]``
    :param mean: mean of the batch, ``[features_dim]``
    :param var: variance of the batch, ``[features_dim]``
    :raises ValueError: if a square is not finite in float32; the message says why
    """
    bad = ~th.isfinite((var + mean.square()).float())
    if not bad.any():
        return
    dimensions = ", ".join(map(str, bad.nonzero().flatten().tolist()))
    if th.isfinite(batch).all():
        raise ValueError(
            f"training observations are too large in dimension {dimensions}: with values up to "
            f"{batch[:, bad].abs().max().item():.0e} their squares are beyond float32; scale or clip them"
        )
    raise ValueError(f"training observations hold NaN or infinity (in float32) in dimension {dimensions}")


def merge(moments: th.Tensor, mean: th.Tensor, var: th.Tensor, count: th.Tensor) -> None:
    """
    Merge the moments of a batch into running ones, in place.

    :param moments: number, means and variances of a batch, ``[1 + 2 features_dim]``
    :param mean: running mean, ``[features_dim]``
    :param var: running variance, ``[features_dim]``
    :param count: running number of observations, a scalar
    """
    size, batch_mean, batch_var = moments.split([1, len(mean), len(mean)])
    total = count + size
    share = size / total
    delta = batch_mean - mean
    mean += share * delta
    # Exact for a first variance of 1e-12, which a difference to the initial 1 would round away.
    var.copy_((1.0 - share) * (var + share * delta.square()) + share * batch_var)
    count.copy_(total.squeeze())


def merge_batch(batch: th.Tensor, mean: th.Tensor, var: th.Tensor, count: th.Tensor) -> bool:
    """
    Merge a batch into running moments, in place: `moments_of` and `merge` in one kernel on the CPU.

    Some 25 small operations of torch take a twentieth of a gradient step.

    :param batch: ``[N, features_dim]``, without a graph
    :param mean: running mean, ``[features_dim]``
    :param var: running variance, ``[features_dim]``
    :param count: running number of observations, a scalar
    :return: False where nothing was merged: for tensors that are not float32 on the CPU, for traced ones, for other
        shapes, and for batches that `check_moments` refuses
    """
    plain = all(map(_is_plain, (batch, mean, var, count))) and batch.shape[1:] == mean.shape == var.shape
    if operations_are_traced() or not plain:
        return False
    from sb3_spiking.snn.execution.moment_kernels import merge

    return merge(batch.numpy(), mean.numpy(), var.numpy(), count.numpy().reshape(1))


def _is_plain(tensor: th.Tensor) -> bool:
    return tensor.dtype is th.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()
