"""Convolutions and dense layers, with PyTorch's initial values.

Each computes in the precision of its input; parameters are float32.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

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
    """Convolution on a CPU: where features are few, those of two columns at once.

    XLA is nearly twice as fast there with 32 features as with 16: for GLAM's first 5x5
    kernel 10.5 ms become 7.5, and the kernels before it take a fourth.
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
