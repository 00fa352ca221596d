"""Products as XLA computes them fast on a CPU, with all their derivatives."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

Padding = tuple[tuple[int, int], tuple[int, int]]


def bilinear(
    product: Callable, left_gradient: Callable, right_gradient: Callable
) -> Callable:
    """A bilinear function whose gradients are computed as said.

    Its tangents are the transposes of these, which JAX transposes back for gradients.
    So, unlike with `jax.custom_vjp`, it has derivatives of all kinds and orders.

    Args:
      product: The function of (left, right).
      left_gradient: Of (cotangent, right), the gradient of the left factor.
      right_gradient: Of (left, cotangent), the gradient of the right factor.
    """
    function = jax.custom_jvp(product)

    def jvp(primals, tangents):
        left, right = primals
        y = function(left, right)
        gradients = (
            lambda cotangent: left_gradient(cotangent, right),
            lambda cotangent: right_gradient(left, cotangent),
        )
        terms = [
            jax.linear_transpose(gradient, y)(tangent)[0]
            for gradient, tangent in zip(gradients, tangents, strict=True)
            if not isinstance(tangent, SymbolicZero)
        ]
        return y, sum(terms[1:], terms[0])

    function.defjvp(jvp, symbolic_zeros=True)
    return function


multiply = bilinear(  # (..., channels) by (channels, features)
    jnp.matmul,
    lambda cotangent, kernel: cotangent @ kernel.T,
    # JAX's own, the transpose of a product of gradient and input, takes twice as long.
    lambda x, cotangent: jnp.einsum("...i,...j->ij", x, cotangent),
)


def convolve(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Convolution whose gradients are ordinary convolutions.

    Inside a loop XLA's CPU backend runs JAX's own gradients off its fast path: 3.5 s
    instead of 0.07 s for the kernel of GLAM's last layer, 0.16 s instead of 0.013 s for
    its input.
    """
    full = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip(kernel.shape[:2], padding, strict=True)
    ]

    def x_gradient(cotangent, kernel):
        return _in_pairs(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), full)

    def kernel_gradient(x, cotangent):  # channels play the batch, examples the channels
        y = _convolve(x.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), padding)
        return y.transpose(1, 2, 0, 3)

    product = functools.partial(_in_pairs, padding=padding)
    return bilinear(product, x_gradient, kernel_gradient)(x, kernel)


def _in_pairs(x, kernel, padding):
    """Convolution; where features are few, those of two columns at once.

    XLA is nearly twice as fast with 32 features as with 16: for GLAM's first 5x5 kernel
    10.5 ms become 7.5, and the kernels before it take a fourth.
    """
    if kernel.shape[-1] > 16:
        return _convolve(x, kernel, padding)
    pair = [
        jnp.pad(kernel, ((0, 0), (shift, 1 - shift), (0, 0), (0, 0)))
        for shift in (0, 1)
    ]
    rows, (left, right) = padding
    width = x.shape[2] + left + right - kernel.shape[1] + 1
    padding = rows, (left, right + width % 2)
    y = _convolve(x, jnp.concatenate(pair, axis=-1), padding, strides=(1, 2))
    return y.reshape(*y.shape[:2], -1, kernel.shape[-1])[:, :, :width]


def _convolve(x, kernel, padding, strides=(1, 1)):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=dimensions
    )
