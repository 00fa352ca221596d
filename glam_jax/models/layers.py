"""The layers and blocks that the models are made of, with PyTorch's conventions.

Each computes in the precision of its input. Parameters, the statistics of BatchNorm and
LayerNorm, and softmax are float32 whatever that is.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax import parallel
from glam_jax.models import run_channels

# Kaiming-uniform with a = sqrt(5), the default of PyTorch's Conv2d and Linear.
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bias_init(fan_in: int) -> Callable:
    """PyTorch's default bias: uniform in +-1/sqrt(fan_in)."""
    return symmetric_uniform(fan_in**-0.5)


def symmetric_uniform(bound: float) -> Callable:
    """Uniform in +-bound."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def convolve(x: jax.Array, kernel: jax.Array, padding) -> jax.Array:
    """Convolution whose gradients stay fast inside a loop on the CPU.

    Args:
      x: (batch, height, width, channels).
      kernel: (height, width, channels, features).
      padding: ((top, bottom), (left, right)).

    Returns:
      (batch, height, width, features), stride 1.
    """
    return run_channels.differentiable(
        functools.partial(run_channels.convolve_together, padding=padding),
        lambda x, kernel: _convolve(x, kernel, padding),
    )(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, padding):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_convolve_in_pairs, padding=padding),
        default=functools.partial(run_channels.convolve, padding=padding),
    )


def _convolve_in_pairs(x, kernel, padding):
    """The same; where features are few, those of two columns are computed at once.

    On a CPU XLA is nearly twice as fast with 32 features as with 16: for GLAM's first
    5x5 kernel 10.5 ms become 7.5, and the kernels before it take a fourth.
    """
    if kernel.shape[-1] > 16:
        return run_channels.convolve(x, kernel, padding)
    first, second = (
        jnp.pad(kernel, ((0, 0), (shift, 1 - shift), (0, 0), (0, 0)))
        for shift in (0, 1)
    )
    rows, (left, right) = padding
    width = x.shape[2] + left + right - kernel.shape[1] + 1
    y = run_channels.convolve(
        x,
        jnp.concatenate([first, second], axis=-1),
        (rows, (left, right + width % 2)),
        strides=(1, 2),
    )
    return y.reshape(*y.shape[:2], -1, kernel.shape[-1])[:, :, :width]


def _convolve_forward(x, kernel, padding):
    return _convolve(x, kernel, padding), (x, kernel)


def _convolve_backward(padding, residuals, cotangent):
    return lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(_gradients_as_convolutions, padding),
        default=functools.partial(_default_gradients, padding),
    )


def _default_gradients(padding, x, kernel, cotangent):
    _, gradients = jax.vjp(
        lambda x, kernel: run_channels.convolve(x, kernel, padding), x, kernel
    )
    return gradients(cotangent)


def _gradients_as_convolutions(padding, x, kernel, cotangent):
    """Both gradients as ordinary convolutions.

    Inside a loop XLA's CPU backend runs the default forms off its fast path: 3.5 s
    instead of 0.07 s for the kernel of GLAM's last layer, 0.16 s instead of 0.013 s for
    its input.
    """
    height, width = kernel.shape[:2]
    full = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip((height, width), padding, strict=True)
    ]
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    x_gradient = _convolve_in_pairs(cotangent, flipped, full)
    # Channels play the batch, and examples the channels.
    kernel_gradient = run_channels.convolve(
        x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), padding
    )
    return x_gradient, kernel_gradient.transpose(1, 2, 0, 3)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def convolve_scales(
    x: jax.Array,
    fine: tuple[jax.Array, jax.Array],
    coarse: tuple[jax.Array, jax.Array],
    residual: bool,
) -> jax.Array:
    """A 3x3 and a 5x5 convolution, one after the other along the features.

    Args:
      x: (batch, height, width, channels).
      fine: the kernel and the bias of the 3x3 convolution, with as many features.
      coarse: of the 5x5 one.
      residual: whether x is added to each.

    Returns:
      (batch, height, width, 2 channels).
    """

    def apart(x, fine, coarse):
        results = [
            _convolve(x, kernel, ((border, border),) * 2) + bias
            for border, (kernel, bias) in ((1, fine), (2, coarse))
        ]
        if residual:
            results = [result + x for result in results]
        return jnp.concatenate(results, axis=-1)

    def together(x, fine, coarse):
        # As one convolution: x is read, and the result written, once.
        border = ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0))
        kernel = jnp.concatenate([jnp.pad(fine[0], border), coarse[0]], axis=-1)
        y = run_channels.convolve_together(x, kernel, ((2, 2), (2, 2)))
        y = _add_together(y, jnp.concatenate([fine[1], coarse[1]], axis=-1))
        return _add_twice_together(y, x) if residual else y

    return run_channels.differentiable(together, apart)(x, fine, coarse)


_add_together = run_channels.as_channels(jnp.add)


def add(x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum of two arrays, or of one and a vector of its channels."""
    return run_channels.differentiable(_add_together, jnp.add)(x, y)


def add_twice(x: jax.Array, y: jax.Array) -> jax.Array:
    """Adds y to both halves of the channels of x."""

    def apart(x, y):
        return x + jnp.concatenate([y, y], axis=-1)

    return run_channels.differentiable(_add_twice_together, apart)(x, y)


def _add_twice_together(x, y):
    # A product with ones and zeros moves y along the lanes, and in full precision
    # changes no digit.
    runs, channels = len(y), y.shape[-1]
    kernel = jnp.tile(jnp.eye(channels, dtype=y.dtype), (runs, 1, 1, 1, 2))
    doubled = run_channels.convolve_together(
        y, kernel, ((0, 0), (0, 0)), lax.Precision.HIGHEST
    )
    return _add_together(x, doubled)


def stack_rows(first: jax.Array, second: jax.Array) -> jax.Array:
    """Joins two (batch, height, width, channels) along the height."""

    def join(first, second):
        return jnp.concatenate([first, second], axis=1)

    return run_channels.differentiable(run_channels.as_channels(join), join)(
        first, second
    )


class Conv(nn.Module):
    """2-D convolution with bias.

    Attributes:
      features: output channels.
      kernel_size: (height, width).
      padding: ((top, bottom), (left, right)), None for what keeps the size of the input
        where the kernel's is odd.
    """

    features: int
    kernel_size: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]] | None = None

    @nn.compact
    def weights(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The kernel and the bias for an input, in its precision."""
        height, width = self.kernel_size
        channels = x.shape[-1]
        kernel = self.param(
            "kernel", kernel_init, (height, width, channels, self.features)
        )
        bias = self.param(
            "bias", bias_init(height * width * channels), (self.features,)
        )
        return kernel.astype(x.dtype), bias.astype(x.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = self.kernel_size
        same = ((height // 2, height // 2), (width // 2, width // 2))
        kernel, bias = self.weights(x)
        return add(convolve(x, kernel, self.padding or same), bias)


class Dense(nn.Module):
    """Linear layer over the last axis, with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = self.param("bias", bias_init(fan_in), (self.features,))
        return multiply(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)


@jax.custom_vjp
def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(..., channels) by (channels, features).

    The kernel's gradient by JAX's own rule, the transpose of one product of gradient
    and input, takes twice as long on a CPU.
    """
    return x @ kernel


def _multiply_backward(residuals, cotangent):
    x, kernel = residuals
    return cotangent @ kernel.T, jnp.einsum("...i,...j->ij", x, cotangent)


multiply.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _multiply_backward)


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


def check_shape(x: jax.Array, smallest: tuple[int, int], model: str) -> None:
    """Raises ValueError when segments are too small for a network to pool twice."""
    shape = x.shape[1:]
    if shape[0] < smallest[0] or shape[1] < smallest[1]:
        raise ValueError(
            f"{model} needs segments of at least {smallest[0]} x {smallest[1]} "
            f"(frequency x time), not {shape[0]} x {shape[1]}"
        )


def channels_first(x: jax.Array) -> jax.Array:
    """(batch, height, width, channels) -> (batch, channels, positions)."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).swapaxes(1, 2)


class MultiScaleBlock(nn.Module):
    """Parallel 3x3 and 5x5 convolutions, each with a residual (paper, section 3.1).

    (batch, height, width, c) -> (batch, height, width, 2c).
    """

    batch_axis: str | None = None
    pool: bool = False
    residual: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        fine = Conv(channels, (3, 3), name="conv3").weights(x)
        coarse = Conv(channels, (5, 5), name="conv5").weights(x)
        y = convolve_scales(x, fine, coarse, self.residual)
        return BatchNorm(self.batch_axis, relu=True, pool=self.pool, name="norm")(
            y, train
        )


class SingleScaleBlock(nn.Module):
    """One 3x3 convolution with a residual, as wide as a `MultiScaleBlock`.

    (batch, height, width, c) -> (batch, height, width, 2c).
    """

    batch_axis: str | None = None
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = Conv(2 * x.shape[-1], (3, 3), name="conv3")(x)
        y = add_twice(y, x)
        return BatchNorm(self.batch_axis, relu=True, pool=self.pool, name="norm")(
            y, train
        )


class GlobalAwareBlock(nn.Module):
    """A gMLP block that mixes the channels of a feature map (paper, section 3.2).

    (batch, tokens, positions) -> the same; a token is a channel, its features are the
    positions of the map.

    Attributes:
      expansion: hidden features for each position.
    """

    expansion: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        positions = x.shape[-1]
        y = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        y = gelu(Dense(self.expansion * positions, name="expand")(y))
        value, gate = jnp.split(y, 2, axis=-1)
        y = value * nn.tanh(TokenMixing(name="gate")(gate))
        return x + Dense(positions, name="project")(y)


class TokenMixing(nn.Module):
    """LayerNorm, then a linear map across the tokens of (batch, tokens, features)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        tokens = x.shape[1]
        x = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        # Near zero, so that the gate starts as tanh(1) for every token.
        kernel = self.param(
            "kernel", symmetric_uniform(1e-3 / tokens), (tokens, tokens)
        )
        bias = self.param("bias", nn.initializers.ones, (tokens,))
        kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
        return jnp.einsum("mn,bnf->bmf", kernel, x) + bias[:, None]


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU as PyTorch writes it; nn.gelu's erfc takes ten times as long."""
    return 0.5 * x * (1 + lax.erf(x * 0.5**0.5))


def softmax(x: jax.Array) -> jax.Array:
    """Softmax over the last axis, computed in float32."""
    return nn.softmax(x.astype(jnp.float32)).astype(x.dtype)


class MultiHeadAttention(nn.Module):
    """Attention of each position over its channels (Xu et al. 2020), in parallel heads.

    (batch, height, width, channels) -> (batch, heads * height, width, features).

    Attributes:
      heads: their outputs follow each other along the height.
      features: output channels.
    """

    heads: int = 4
    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        attended = []
        for head in range(self.heads):
            query, key, value = (
                Dense(self.features, name=f"{name}{head}")(x)
                for name in ("query", "key", "value")
            )
            attended.append(softmax(query * key) * value)
        return jnp.concatenate(attended, axis=1)


class AreaAttention(nn.Module):
    """Attention of each position over runs of up to three (Li et al. 2019).

    Runs are of positions in reading order; a run's key is its mean and its value its
    sum. (batch, height, width, channels) -> (batch, positions, channels).

    Attributes:
      dropout_rate: of the weights.
      batch_axis: name of the mapped axis that the batch is split over, None for none.
    """

    dropout_rate: float
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        sums, means = [x], [x]
        for longer in (1, 2):
            sums.append(sums[-1][:, :-1] + x[:, longer:])
            means.append(sums[-1] / (longer + 1))
        weights = softmax(x @ jnp.concatenate(means, axis=1).swapaxes(1, 2))
        weights = Dropout(self.dropout_rate, self.batch_axis)(weights, train)
        return weights @ jnp.concatenate(sums, axis=1)


class Dropout(nn.Module):
    """Dropout in training; an example's draws do not depend on the number of devices.

    Attributes:
      rate: of values set to zero.
      batch_axis: name of the mapped axis that the batch is split over, None for none.
    """

    rate: float
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        key = self.make_rng("dropout")
        example = jnp.arange(len(x))
        if self.batch_axis is not None:
            example += lax.axis_index(self.batch_axis) * len(x)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, example)
        keep = jax.vmap(
            lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:])
        )(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)
