"""Batch normalisation with PyTorch's conventions, and the pooling that may follow it.

The result has the precision of the input; parameters and statistics are float32.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax import parallel
from glam_jax.models import ops
from glam_jax.models.ops import lanes


class BatchNormReLU(nn.Module):
    """Batch normalisation over the last axis, with PyTorch's running averages; relu.

    Unlike flax's, the running variance takes the UNBIASED variance of the batch, and
    the batch is the global one: statistics are averaged over the devices of `axis`.

    Attributes:
      axis: The name of the mapped axis that the batch is split over, None for none.
      pool: Whether `max_pool` follows.
    """

    axis: str | None = None
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array | lanes.Convolution, train: bool) -> jax.Array:
        x = jnp.asarray(x)
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not train or self.is_initializing():
            mean, var = running_mean.value, running_var.value
            return _normalise(x, mean, var, scale, bias, self.pool)

        moments = _moments_in_one_pass if ops.in_lanes() else _moments

        def by_batch(x, scale, bias, guess):
            mean, var = moments(ops.widened(x), guess, self.axis)
            return _normalise(x, mean, var, scale, bias, self.pool), mean, var

        if ops.in_lanes():
            by_batch = lanes.differentiable(lanes.as_channels(by_batch))
        y, mean, var = by_batch(x, scale, bias, running_mean.value)
        devices = 1 if self.axis is None else lax.axis_size(self.axis)
        count = x.size // channels * devices
        unbiased = var * count / (count - 1)
        running_mean.value = 0.9 * running_mean.value + 0.1 * mean
        running_var.value = 0.9 * running_var.value + 0.1 * unbiased
        return y


def _moments(x, guess, axis):
    """Mean and (biased) variance of the global batch."""
    del guess
    batch = tuple(range(x.ndim - 1))
    mean = parallel.mean(x.mean(batch), axis)
    return mean, parallel.mean(jnp.square(x - mean).mean(batch), axis)


def _moments_in_one_pass(x, guess, axis):
    """The same from the difference to about the mean, whose squares lose few digits."""
    batch = tuple(range(x.ndim - 1))
    x = x - guess
    mean, square = parallel.mean((x.mean(batch), jnp.square(x).mean(batch)), axis)
    return mean + guess, jnp.maximum(square - jnp.square(mean), 0)


def _normalise(x, mean, var, scale, bias, pool):
    """In few passes over x: what the maximum drops is not normalised."""
    if pool:
        sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
        x = max_pool(x * sign) * sign
    y = (ops.widened(x) - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias
    return nn.relu(y).astype(x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum of (batch, height, width, channels); an odd last line is dropped.

    Selected by comparison: the gradient of `nn.max_pool` is slower on the CPU, and that
    of `jnp.max` or `jnp.maximum` asks where the input equals the maximum, which loses
    gradients when XLA computes the input anew in another fusion and rounds otherwise.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    largest = x[:, :height:2, :width:2]
    for row, column in ((0, 1), (1, 0), (1, 1)):
        candidate = x[:, row:height:2, column:width:2]
        largest = jnp.where(candidate > largest, candidate, largest)
    return largest
