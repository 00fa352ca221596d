"""GLAM: multi-scale convolutions, then a fusion (paper, figure 1); its ablations."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float

from glam_jax.models import layers, ops
from glam_jax.models.ops import linear, normalization


class MultiScale(nn.Module):
    """The convolutions of GLAM, then a classifier (paper's ablation, first row).

    Attributes:
      num_classes: Emotions told apart.
      batch_axis: Name of the mapped axis that the batch is split over, None for none.
      first_size: Of the two first kernels, which are lines.
      block: Module that doubles the channels.
    """

    num_classes: int = 4
    batch_axis: str | None = None
    first_size: int = 3
    block: Callable = layers.MultiScaleBlock

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""
        layers.check_shape(x, (2, 4), type(self).__name__)

        def norm_relu(x, name):
            return normalization.BatchNormReLU(self.batch_axis, name=name)(x, train)

        def block(x, name, pool=False):
            return self.block(self.batch_axis, pool, name=name)(x, train)

        size = self.first_size
        x = jnp.asarray(x)[..., None]
        along_frequency = linear.Conv(16, (size, 1), name="frequency_conv")(x)
        along_time = linear.Conv(16, (1, size), name="time_conv")(x)
        x = linear.concatenate(  # (batch, 2 frequency, time, 16)
            [
                norm_relu(along_frequency, "frequency_norm"),
                norm_relu(along_time, "time_norm"),
            ],
            axis=1,
        )
        x = block(x, "block1", pool=True)  # (batch, frequency, time/2, 32)
        x = block(x, "block2", pool=True)  # (batch, frequency/2, time/4, 64)
        x = block(x, "block3")  # (batch, frequency/2, time/4, 128)
        x = norm_relu(linear.Conv(128, (5, 5), name="conv")(x), "norm")

        x = nn.relu(self.fuse(x, train))
        x = ops.widened(x.reshape(x.shape[0], -1))
        self.sow("intermediates", "embedding", x)
        return linear.Dense(self.num_classes, name="classifier")(x)

    def fuse(self, x: jax.Array, train: bool) -> jax.Array:
        """(batch, height, width, 128) -> what is flattened for the classifier."""
        return layers.channels_first(x)


class GLAM(MultiScale):
    """The paper's model: a global-aware block mixes the channels (section 3.2)."""

    def fuse(self, x: jax.Array, train: bool) -> jax.Array:
        """(batch, height, width, 128) -> (batch, 128, positions)."""
        tokens = layers.channels_first(x)
        return layers.GlobalAwareBlock(name="global_aware")(tokens)


class MultiScaleMHA(MultiScale):
    """Multi-head attention in the place of the global-aware block."""

    def fuse(self, x: jax.Array, train: bool) -> jax.Array:
        """(batch, height, width, 128) -> (batch, 64, 4 height * width)."""
        return layers.channels_first(layers.MultiHeadAttention(name="attention")(x))


class MultiScaleAA(MultiScale):
    """Area attention in the place of the global-aware block.

    Attributes:
      dropout_rate: Of the attention's weights.
    """

    dropout_rate: float = 0.5

    def fuse(self, x: jax.Array, train: bool) -> jax.Array:
        """(batch, height, width, 128) -> (batch, positions, 128)."""
        return layers.AreaAttention(self.dropout_rate, self.batch_axis)(x, train)


GLAM5 = functools.partial(GLAM, first_size=5)
GLAMSingleScale = functools.partial(GLAM, block=layers.SingleScaleBlock)
GLAMNoResidual = functools.partial(
    GLAM, block=functools.partial(layers.MultiScaleBlock, residual=False)
)
