"""The blocks and attention layers that the models are made of.

Each computes in the precision of its input. Parameters, the statistics of LayerNorm,
and softmax are float32 if that is less precise.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from glam_jax.models import ops
from glam_jax.models.ops import linear, normalization


def check_shape(
    x: Float[ArrayLike, "batch frequency time"], smallest: tuple[int, int], model: str
) -> None:
    """Raises ValueError when segments are too small for a network to pool twice."""
    shape = jnp.shape(x)[1:]
    if shape[0] < smallest[0] or shape[1] < smallest[1]:
        raise ValueError(
            f"{model} needs segments of at least {smallest[0]} x {smallest[1]} "
            f"(frequency x time), not {shape[0]} x {shape[1]}"
        )


def real_frames(x: jax.Array) -> jax.Array:
    """(batch, frequency, time) -> (batch, time) bool: the frames that are not zero.

    Zeros are what fills segments up, see `inputs.Inputs.short`, and what masks hide.
    """
    return (x != 0).any(axis=1)


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
    def __call__(
        self, x: Float[Array, "batch height width c"], train: bool
    ) -> Float[Array, "batch _ _ 2*c"]:
        channels = x.shape[-1]
        conv3 = linear.Conv(channels, (3, 3), name="conv3")
        conv5 = linear.Conv(channels, (5, 5), name="conv5")
        if self.residual:
            y = linear.concatenate([conv3(x) + x, conv5(x) + x])
        else:
            y = linear.concatenate([conv3(x), conv5(x)])
        norm = normalization.BatchNormReLU(self.batch_axis, self.pool, name="norm")
        return norm(y, train)


class SingleScaleBlock(nn.Module):
    """One 3x3 convolution with a residual, as wide as a `MultiScaleBlock`.

    (batch, height, width, c) -> (batch, height, width, 2c).
    """

    batch_axis: str | None = None
    pool: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width c"], train: bool
    ) -> Float[Array, "batch _ _ 2*c"]:
        conv3 = linear.Conv(2 * x.shape[-1], (3, 3), name="conv3")
        y = conv3(x) + linear.concatenate([x, x])
        norm = normalization.BatchNormReLU(self.batch_axis, self.pool, name="norm")
        return norm(y, train)


class GlobalAwareBlock(nn.Module):
    """A gMLP block that mixes the channels of a feature map (paper, section 3.2).

    (batch, tokens, positions) -> the same; a token is a channel, its features are the
    positions of the map.

    Attributes:
      expansion: Hidden features for each position.
    """

    expansion: int = 4

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch channels positions"]
    ) -> Float[Array, "batch channels positions"]:
        positions = x.shape[-1]
        y = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        y = gelu(linear.Dense(self.expansion * positions, name="expand")(y))
        value, gate = jnp.split(y, 2, axis=-1)
        y = value * nn.tanh(TokenMixing(name="gate")(gate))
        return x + linear.Dense(positions, name="project")(y)


class TokenMixing(nn.Module):
    """LayerNorm, then a linear map across the tokens of (batch, tokens, features)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        tokens = x.shape[1]
        x = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        # Near zero, so that the gate starts as tanh(1) for every token.
        kernel = self.param(
            "kernel", linear.symmetric_uniform(1e-3 / tokens), (tokens, tokens)
        )
        bias = self.param("bias", nn.initializers.ones, (tokens,))
        kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
        return jnp.einsum("mn,bnf->bmf", kernel, x) + bias[:, None]


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU as PyTorch writes it; nn.gelu's erfc takes ten times as long."""
    return 0.5 * x * (1 + lax.erf(x * 0.5**0.5))


def softmax(x: jax.Array) -> jax.Array:
    """Softmax over the last axis, computed in at least float32."""
    return nn.softmax(ops.widened(x)).astype(x.dtype)


class MultiHeadAttention(nn.Module):
    """Attention of each position over its channels (Xu et al. 2020), in parallel heads.

    (batch, height, width, channels) -> (batch, heads * height, width, features).

    Attributes:
      heads: Heads; their outputs follow each other along the height.
      features: Output channels.
    """

    heads: int = 4
    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        attended = []
        for head in range(self.heads):
            query, key, value = (
                linear.Dense(self.features, name=f"{name}{head}")(x)
                for name in ("query", "key", "value")
            )
            attended.append(softmax(query * key) * value)
        return jnp.concatenate(attended, axis=1)


class AreaAttention(nn.Module):
    """Attention of each position over runs of up to three (Li et al. 2019).

    Runs are of positions in reading order; a run's key is its mean and its value its
    sum. (batch, height, width, channels) -> (batch, positions, channels).

    Attributes:
      dropout_rate: The rate of dropout of the weights.
      batch_axis: The mapped axis that the batch is split over, None for none.
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
      rate: The share of values that are set to zero.
      batch_axis: The mapped axis that the batch is split over, None for none.
    """

    rate: float
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        keys = example_keys(self.make_rng("dropout"), len(x), self.batch_axis)
        keep = jax.vmap(
            lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:])
        )(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)


def example_keys(key: jax.Array, count: int, axis: str | None) -> jax.Array:
    """A key for each example of a batch, the same on any number of devices.

    Args:
      key: The key of the step.
      count: Examples of the batch on this device.
      axis: The mapped axis that the batch is split over, None for none.
    """
    example = jnp.arange(count)
    if axis is not None:
        example += lax.axis_index(axis) * count
    return jax.vmap(jax.random.fold_in, (None, 0))(key, example)
