"""Layers for a TPU, where R runs of C channels are computed as one of R * C channels.

`jax.vmap` gives the runs an axis of their own, and a TPU pads what a run's 16 or 32
channels leave free of the 128 lanes of its memory. Side by side the runs fill them:
with 8 a step in bfloat16 moves 0.83 GB a run instead of 2.1. Each function here lays
the runs together and apart again; between two of them XLA drops both.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import custom_batching, lax

from glam_jax import mapped

LANES = 128


def join(x: jax.Array) -> jax.Array:
    """(runs, ..., channels) -> (..., runs * channels)."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def split(x: jax.Array, runs: int) -> jax.Array:
    """(..., runs * channels) -> (runs, ..., channels)."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], runs, -1), -2, 0)


def over_runs(together: Callable) -> Callable:
    """The function of one run, not differentiable, whose `jax.vmap` is `together`.

    Args:
      together: A function of arrays that all have a leading axis of runs.
    """

    @custom_batching.custom_vmap
    def function(*arguments):
        result = together(*[x[None] for x in arguments])
        return jax.tree.map(lambda x: x[0], result)

    @function.def_vmap
    def rule(runs, has_runs, *arguments):
        stacked = [
            x if own else jnp.broadcast_to(x, (runs, *x.shape))
            for x, own in zip(arguments, has_runs, strict=True)
        ]
        result = together(*stacked)
        return result, jax.tree.map(lambda _: True, result)

    return function


def differentiable(together: Callable) -> Callable:
    """As `over_runs`, with gradients that keep no more than the arguments."""
    forward = over_runs(together)
    backward = over_runs(
        lambda cotangent, *arguments: jax.vjp(together, *arguments)[1](cotangent)
    )
    function = jax.custom_vjp(lambda *arguments: forward(*arguments))
    function.defvjp(
        lambda *arguments: (forward(*arguments), arguments),
        lambda arguments, cotangent: backward(cotangent, *arguments),
    )
    return function


def as_channels(function: Callable) -> Callable:
    """The `together` of a function that treats channels alike: runs are but more."""

    def together(*stacked):
        result = function(*map(join, stacked))
        return jax.tree.map(lambda x: split(x, len(stacked[0])), result)

    return together


class Convolution:
    """A convolution with bias that is computed when it is asked for as an array.

    Sums and concatenations of convolutions of one input are one convolution, of the sum
    or concatenation of their kernels: the input is read, and the result written, once.
    The input itself is one whose kernel is 1, in the precision of the input.
    """

    def __init__(self, x: jax.Array, kernel: jax.Array, bias: jax.Array, padding):
        self.x, self.kernel, self.bias, self.padding = x, kernel, bias, padding

    def __add__(self, other: "Convolution | jax.Array") -> "Convolution":
        first, second = _alike(self, other)
        kernel, bias = first.kernel + second.kernel, first.bias + second.bias
        return Convolution(self.x, kernel, bias, first.padding)

    def padded_to(self, padding) -> "Convolution":
        """The same with a kernel that zeros make as much larger as the padding is."""
        border = [
            (low - own_low, high - own_high)
            for (low, high), (own_low, own_high) in zip(
                padding, self.padding, strict=True
            )
        ]
        kernel = jnp.pad(self.kernel, (*border, (0, 0), (0, 0)))
        return Convolution(self.x, kernel, self.bias, padding)

    def __jax_array__(self) -> jax.Array:
        """(batch, height, width, features), for `jnp.asarray`."""

        def together(x, kernel, bias):
            y = _convolve(x, kernel, self.padding)
            return as_channels(jnp.add)(y, bias)

        return differentiable(together)(self.x, self.kernel, self.bias)


def concatenate(
    parts: Sequence[Convolution | jax.Array], axis: int
) -> Convolution | jax.Array:
    """Joins convolutions of one input, or it itself, by features; arrays by height."""
    if axis == 1:
        return differentiable(as_channels(lambda *x: jnp.concatenate(x, 1)))(*parts)
    parts = _alike(*parts)
    kernel = jnp.concatenate([part.kernel for part in parts], axis=-1)
    bias = jnp.concatenate([part.bias for part in parts])
    return Convolution(parts[0].x, kernel, bias, parts[0].padding)


def _alike(*parts: Convolution | jax.Array) -> list[Convolution]:
    """The same convolutions, with kernels of one size; an array is one by identity."""
    alike = []
    for part in parts:
        if not isinstance(part, Convolution):
            channels = part.shape[-1]
            kernel = jnp.eye(channels, dtype=part.dtype)[None, None]
            bias = jnp.zeros(channels, part.dtype)
            part = Convolution(part, kernel, bias, ((0, 0), (0, 0)))
        alike.append(part)
    if any(part.x is not alike[0].x for part in alike):
        raise NotImplementedError("convolutions of different inputs side by side")
    rows, columns = (
        tuple(max(part.padding[axis][end] for part in alike) for end in (0, 1))
        for axis in (0, 1)
    )
    return [part.padded_to((rows, columns)) for part in alike]


def _convolve(x, kernel, padding):
    """Convolution of arguments with a leading axis of runs.

    As many runs as fill the lanes are one convolution, whose kernel is zero between
    different runs: the matrix unit would be as idle with fewer channels.
    """
    runs, *size, channels, features = kernel.shape
    fitting = min(max(LANES // channels, 1), runs)
    beside = max(n for n in range(1, fitting + 1) if runs % n == 0)
    kernel = kernel.reshape(-1, beside, *size, channels, features)
    kernel = jnp.einsum(
        "grhwcf,rs->hwrcgsf", kernel, jnp.eye(beside, dtype=kernel.dtype)
    )
    y = lax.conv_general_dilated(
        join(x),
        kernel.reshape(*size, beside * channels, runs * features),
        (1, 1),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=runs // beside,
    )
    return split(y, runs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def normalise(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    guess: jax.Array,
    axis: str | None,
    pool: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises by the batch; relu follows, and a 2x2 maximum may.

    All in one function, for few passes over x: the maximum is taken before the rest is
    computed, and the backward pass keeps x in its own precision and where the maxima
    were. The statistics have no gradient.

    Args:
      x: (..., channels).
      scale: (channels,).
      bias: (channels,).
      guess: (channels,) of about the mean.
      axis: The name of the mapped axis that the batch is split over, None for none.
      pool: Whether the maximum follows.

    Returns:
      The result, and mean and (biased) variance of the global batch.
    """
    return _normalise_forward(x, scale, bias, guess, axis, pool)[0]


def _normalise_forward(x, scale, bias, guess, axis, pool):
    def forward(x, scale, bias, guess):
        mean, var = _moments(x.astype(jnp.float32), guess, axis)
        kept, *place = _extremes(x, scale) if pool else (x,)
        y = (kept.astype(jnp.float32) - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias
        return nn.relu(y).astype(x.dtype), mean, var, kept, *place

    y, mean, var, *kept = over_runs(as_channels(forward))(x, scale, bias, guess)
    return (y, mean, var), (x, scale, bias, mean, var, *kept)


def _normalise_backward(axis, pool, residuals, cotangents):
    def backward(cotangent, x, scale, bias, mean, var, kept, *place):
        deviation = lax.rsqrt(var + 1e-5)

        def normal(x):
            return (x.astype(jnp.float32) - mean) * deviation

        cotangent = jnp.where(normal(kept) * scale + bias > 0, cotangent, 0)
        gradient = cotangent.astype(jnp.float32)
        batch = tuple(range(x.ndim - 1))
        scale_gradient = (gradient * normal(kept)).sum(batch)
        bias_gradient = gradient.sum(batch)
        count = x.size // x.shape[-1]
        means = scale_gradient / count, bias_gradient / count
        along, constant = mapped.mean(means, axis)
        if pool:
            cotangent = _spread(cotangent, place[0], x.shape)
        gradient = cotangent.astype(jnp.float32) - constant - normal(x) * along
        x_gradient = (gradient * (deviation * scale)).astype(x.dtype)
        return x_gradient, scale_gradient, bias_gradient

    gradients = over_runs(as_channels(backward))(cotangents[0], *residuals)
    return *gradients, jnp.zeros_like(gradients[-1])


normalise.defvjp(_normalise_forward, _normalise_backward)


def _moments(x, guess, axis):
    """Mean and variance of the global batch, in one pass.

    From the difference to about the mean, whose squares lose few digits.
    """
    batch = tuple(range(x.ndim - 1))
    x = x - guess
    mean, square = mapped.mean((x.mean(batch), jnp.square(x).mean(batch)), axis)
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
