"""Batch normalisation with PyTorch's conventions, and the pooling that may follow it.

The result has the precision of the input; parameters and statistics are float32.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax import mapped
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
            return self._normalise(x, mean, var, scale, bias)
        if ops.in_lanes():
            y, mean, var = lanes.normalise(
                x, scale, bias, running_mean.value, self.axis, self.pool
            )
        else:
            batch = tuple(range(x.ndim - 1))
            wide = ops.widened(x)
            mean = mapped.mean(wide.mean(batch), self.axis)
            var = mapped.mean(jnp.square(wide - mean).mean(batch), self.axis)
            y = self._normalise(x, mean, var, scale, bias)
        devices = 1 if self.axis is None else lax.axis_size(self.axis)
        count = x.size // channels * devices
        unbiased = var * count / (count - 1)
        running_mean.value = 0.9 * running_mean.value + 0.1 * mean
        running_var.value = 0.9 * running_var.value + 0.1 * unbiased
        return y

    def _normalise(self, x, mean, var, scale, bias):
        y = (ops.widened(x) - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias
        y = nn.relu(y)
        return (max_pool(y) if self.pool else y).astype(x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum of (batch, height, width, channels); an odd last line is dropped.

    Selected by comparison: the gradient of `nn.max_pool` is slower on the CPU, and that
    of `jnp.max` or `jnp.maximum` asks where the input equals the maximum, which loses
    gradients when XLA computes the input anew in another fusion and rounds otherwise.
    """
    batch, height, width, channels = x.shape
    height, width = height // 2, width // 2
    windows = x[:, : 2 * height, : 2 * width]
    windows = windows.reshape(batch, height, 2, width, 2, channels)
    rows = _larger(windows[:, :, 0], windows[:, :, 1])
    return _larger(rows[:, :, :, 0], rows[:, :, :, 1])


def _larger(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.where(second > first, second, first)
