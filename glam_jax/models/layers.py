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


def _convolve(x: jax.Array, kernel: jax.Array, padding) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, padding) -> jax.Array:
    """Convolution whose gradients stay fast inside a loop on the CPU.

    Args:
      x: (batch, height, width, channels).
      kernel: (height, width, channels, features).
      padding: ((top, bottom), (left, right)).

    Returns:
      (batch, height, width, features), stride 1.
    """
    return _convolve(x, kernel, padding)


def _convolve_forward(x, kernel, padding):
    return _convolve(x, kernel, padding), (x, kernel)


def _convolve_backward(padding, residuals, cotangent):
    # Compiled for a TPU the default form moves less memory (3.7 against 4.4 GB a step).
    return lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(_gradients_as_convolutions, padding),
        default=functools.partial(_default_gradients, padding),
    )


def _default_gradients(padding, x, kernel, cotangent):
    _, gradients = jax.vjp(lambda x, k: _convolve(x, k, padding), x, kernel)
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
    x_gradient = _convolve(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), full)
    # Channels play the batch, and examples the channels.
    kernel_gradient = _convolve(
        x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), padding
    )
    return x_gradient, kernel_gradient.transpose(1, 2, 0, 3)


convolve.defvjp(_convolve_forward, _convolve_backward)


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
    def __call__(self, x: jax.Array) -> jax.Array:
        height, width = self.kernel_size
        channels = x.shape[-1]
        kernel = self.param(
            "kernel", kernel_init, (height, width, channels, self.features)
        )
        bias = self.param(
            "bias", bias_init(height * width * channels), (self.features,)
        )
        same = ((height // 2, height // 2), (width // 2, width // 2))
        kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
        return convolve(x, kernel, self.padding or same) + bias


class Dense(nn.Module):
    """Linear layer over the last axis, with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = self.param("bias", bias_init(fan_in), (self.features,))
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation over the last axis, with PyTorch's running averages.

    Unlike flax's, the running variance takes the UNBIASED variance of the batch, and
    the batch is the global one: statistics are averaged over the devices of `axis`.

    Attributes:
      axis: name of the mapped axis that the batch is split over, None for none.
    """

    axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        precision, x = x.dtype, x.astype(jnp.float32)
        if train:
            mean = self._mean_over_batch(x)
            var = self._mean_over_batch(jnp.square(x - mean))
            if not self.is_initializing():
                count = x.size // channels * self._num_devices()
                unbiased = var * count / (count - 1)
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        y = (x - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias
        return y.astype(precision)

    def _mean_over_batch(self, x: jax.Array) -> jax.Array:
        mean = x.mean(range(x.ndim - 1))
        if self.axis is None or self.is_initializing():
            return mean
        return lax.pmean(mean, self.axis)

    def _num_devices(self) -> int:
        return 1 if self.axis is None else lax.axis_size(self.axis)


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
    residual: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        fine = Conv(channels, (3, 3), name="conv3")(x)
        coarse = Conv(channels, (5, 5), name="conv5")(x)
        if self.residual:
            fine, coarse = fine + x, coarse + x
        x = jnp.concatenate([fine, coarse], axis=-1)
        return nn.relu(BatchNorm(self.batch_axis, name="norm")(x, train))


class SingleScaleBlock(nn.Module):
    """One 3x3 convolution with a residual, as wide as a `MultiScaleBlock`.

    (batch, height, width, c) -> (batch, height, width, 2c).
    """

    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        doubled = jnp.concatenate([x, x], axis=-1)
        x = Conv(2 * x.shape[-1], (3, 3), name="conv3")(x) + doubled
        return nn.relu(BatchNorm(self.batch_axis, name="norm")(x, train))


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
        y = nn.gelu(
            Dense(self.expansion * positions, name="expand")(y), approximate=False
        )
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
