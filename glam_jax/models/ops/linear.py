"""Convolutions and dense layers, with PyTorch's initial values.

Each computes in the precision of its input; parameters are float32.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax.models import ops
from glam_jax.models.ops import cpu, lanes

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


class Conv(nn.Module):
    """2-D convolution with bias, of stride 1.

    (batch, height, width, channels) -> (batch, height, width, features). For runs on a
    TPU it is `lanes.Convolution`: the input can be added to it, `concatenate` joins it
    with others, and `jnp.asarray` computes it.

    Attributes:
      features: The number of output channels.
      kernel_size: (height, width).
      padding: ((top, bottom), (left, right)), None for what keeps the size of the input
        where the kernel's is odd.
    """

    features: int
    kernel_size: tuple[int, int]
    padding: cpu.Padding | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array | lanes.Convolution:
        height, width = self.kernel_size
        shape = height, width, x.shape[-1], self.features
        kernel = self.param("kernel", kernel_init, shape).astype(x.dtype)
        fan_in = height * width * x.shape[-1]
        bias = self.param("bias", bias_init(fan_in), (self.features,)).astype(x.dtype)
        same = ((height // 2, height // 2), (width // 2, width // 2))
        padding = self.padding or same
        if ops.in_lanes():
            return lanes.Convolution(x, kernel, bias, padding)
        if ops.on_cpu():
            return cpu.convolve(x, kernel, padding) + bias
        dimensions = ("NHWC", "HWIO", "NHWC")
        return bias + lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=dimensions
        )


def concatenate(parts: Sequence[Any], axis: int = -1) -> Any:
    """`jnp.concatenate`, also of what `Conv` gives; of that it gives the same kind."""
    if ops.in_lanes():
        return lanes.concatenate(parts, axis)
    return jnp.concatenate(parts, axis)


class Dense(nn.Module):
    """Linear layer over the last axis, with bias.

    Attributes:
      features: The number of output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = self.param("bias", bias_init(fan_in), (self.features,))
        multiply = cpu.multiply if ops.on_cpu() else jnp.matmul
        return multiply(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)
