"""Batch normalisation with PyTorch's conventions, and the pooling that may follow it.

The result has the precision of the input; parameters and statistics are float32.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax import parallel
from glam_jax.models import run_channels


class BatchNorm(nn.Module):
    """Batch normalisation over the last axis, with PyTorch's running averages.

    Unlike flax's, the running variance takes the UNBIASED variance of the batch, and
    the batch is the global one: statistics are averaged over the devices of `axis`.

    Attributes:
      axis: name of the mapped axis that the batch is split over, None for none.
      relu: whether relu follows.
      pool: whether relu and `max_pool` follow.
    """

    axis: str | None = None
    relu: bool = False
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if train and not self.is_initializing():
            y, mean, var = normalise(
                x, scale, bias, running_mean.value, self.axis, self.relu, self.pool
            )
            count = x.size // channels * self._num_devices()
            unbiased = var * count / (count - 1)
            running_mean.value = 0.9 * running_mean.value + 0.1 * mean
            running_var.value = 0.9 * running_var.value + 0.1 * unbiased
            return y
        y = x.astype(jnp.float32) - running_mean.value
        y = y * (lax.rsqrt(running_var.value + 1e-5) * scale) + bias
        y = nn.relu(y) if self.relu or self.pool else y
        y = max_pool(y) if self.pool else y
        return y.astype(x.dtype)

    def _num_devices(self) -> int:
        return 1 if self.axis is None else lax.axis_size(self.axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def normalise(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    guess: jax.Array,
    axis: str | None,
    relu: bool,
    pool: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises by the batch; relu and 2x2 maximum may follow.

    All in one function, for few passes over x: the maximum is taken before the rest is
    computed, and the backward pass keeps x in its own precision and where the maxima
    were. The statistics have no gradient.

    Args:
      x: (..., channels).
      scale: (channels,).
      bias: (channels,).
      guess: (channels,) of about the mean.
      axis: name of the mapped axis that the batch is split over, None for none.
      relu: whether relu follows.
      pool: whether relu and `max_pool` follow.

    Returns:
      The result, and mean and (biased) variance of the global batch.
    """
    return _normalise_forward(x, scale, bias, guess, axis, relu, pool)[0]


def _normalise_forward(x, scale, bias, guess, axis, relu, pool):
    def forward(moments, x, scale, bias, guess):
        mean, var = moments(x.astype(jnp.float32), guess, axis)
        kept, place = _extremes(x, scale) if pool else (x, None)
        y = (kept.astype(jnp.float32) - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias
        y = nn.relu(y) if relu or pool else y
        return y.astype(x.dtype), mean, var, kept, place

    y, mean, var, kept, place = run_channels.joined(
        run_channels.as_channels(functools.partial(forward, _moments_in_one_pass)),
        functools.partial(forward, _moments),
    )(x, scale, bias, guess)
    return (y, mean, var), (x, scale, bias, mean, var, kept, place)


def _normalise_backward(axis, relu, pool, residuals, cotangents):
    def backward(x, scale, bias, mean, var, kept, cotangent, *place):
        deviation = lax.rsqrt(var + 1e-5)

        def normal(x):
            return (x.astype(jnp.float32) - mean) * deviation

        if relu or pool:
            cotangent = jnp.where(normal(kept) * scale + bias > 0, cotangent, 0)
        gradient = cotangent.astype(jnp.float32)
        batch = tuple(range(x.ndim - 1))
        scale_gradient = (gradient * normal(kept)).sum(batch)
        bias_gradient = gradient.sum(batch)
        count = x.size // x.shape[-1]
        means = scale_gradient / count, bias_gradient / count
        along, constant = parallel.mean(means, axis)
        if pool:
            cotangent = _spread(cotangent, *place, x.shape)
        gradient = cotangent.astype(jnp.float32) - constant - normal(x) * along
        x_gradient = (gradient * (deviation * scale)).astype(x.dtype)
        return x_gradient, scale_gradient, bias_gradient

    x, scale, bias, mean, var, kept, place = residuals
    place = () if place is None else (place,)
    backward = run_channels.joined(run_channels.as_channels(backward), backward)
    gradients = backward(x, scale, bias, mean, var, kept, cotangents[0], *place)
    return *gradients, jnp.zeros_like(mean)


normalise.defvjp(_normalise_forward, _normalise_backward)


def _moments(x, guess, axis):
    """Mean and variance of the global batch."""
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


def _extremes(x, scale):
    """The values of x with the largest `scale * x` of 2x2, and their places, 0 to 3."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
    largest = x[:, :height:2, :width:2]
    place = jnp.zeros(largest.shape, jnp.int8)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        candidate = x[:, row:height:2, column:width:2]
        larger = sign * candidate > sign * largest
        place = jnp.where(larger, jnp.int8(2 * row + column), place)
        largest = jnp.where(larger, candidate, largest)
    return largest, place


def _spread(x, place, shape):
    """Puts what was taken by `_extremes` back at its place in an array of zeros."""
    batch, height, width, channels = shape
    odd = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    x, place = jnp.pad(x, odd), jnp.pad(place, odd)
    at = place[:, :, None, :, None] == jnp.arange(4, dtype=jnp.int8).reshape(2, 1, 2, 1)
    x = jnp.where(at, x[:, :, None, :, None], 0)
    x = x.reshape(batch, height + height % 2, width + width % 2, channels)
    return x[:, :height, :width]


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
