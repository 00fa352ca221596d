"""The paper's baselines: one convolutional trunk under three kinds of attention."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float

from glam_jax.models import layers, ops
from glam_jax.models.ops import linear, normalization


class Baseline(nn.Module):
    """The trunk: two first convolutions, then four of 3x3.

    Attributes:
      num_classes: Emotions told apart.
      batch_axis: Name of the mapped axis that the batch is split over, None for none.
    """

    num_classes: int = 4
    batch_axis: str | None = None

    def trunk(
        self,
        x: Float[ArrayLike, "batch frequency time"],
        train: bool,
        first_channels: int,
        join: int,
    ) -> jax.Array:
        """(batch, frequency, time) -> (batch, height, width, 80).

        Args:
          x: Segments.
          train: Whether to normalise by the batch.
          first_channels: Of each of the two first convolutions.
          join: The axis along which their outputs, with channels last, are joined.
        """
        layers.check_shape(x, (3 if join == 1 else 5, 5), type(self).__name__)

        def norm_relu(x, name, pool=False):
            norm = normalization.BatchNormReLU(self.batch_axis, pool, name=name)
            return norm(x, train)

        def conv(x, features, number, pool=False):
            x = linear.Conv(features, (3, 3), name=f"conv{number}")(x)
            return norm_relu(x, f"norm{number}", pool)

        x = jnp.asarray(x)[..., None]
        along_frequency = linear.Conv(
            first_channels, (10, 2), ((4, 4), (0, 0)), name="frequency_conv"
        )(x)
        along_time = linear.Conv(
            first_channels, (2, 8), ((0, 0), (3, 3)), name="time_conv"
        )(x)
        x = jnp.concatenate(  # both (batch, frequency - 1, time - 1, first_channels)
            [
                norm_relu(along_frequency, "frequency_norm"),
                norm_relu(along_time, "time_norm"),
            ],
            axis=join,
        )
        x = conv(x, 32, 2, pool=True)
        x = conv(x, 48, 3, pool=True)
        return conv(conv(x, 64, 4), 80, 5)


class APCNN(Baseline):
    """Attention pooling (Li et al. 2018): a map of each class, weighed by position."""

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""
        x = self.trunk(x, train, first_channels=8, join=3)
        x = ops.widened(x)
        self.sow("intermediates", "embedding", x.mean((1, 2)))
        top_down = nn.softmax(linear.Dense(self.num_classes, name="top_down")(x))
        bottom_up = linear.Dense(1, name="bottom_up")(x)
        return (top_down * bottom_up).mean((1, 2))


class MHCNN(Baseline):
    """Multi-head attention, averaged over heads and positions (Xu et al. 2020)."""

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""
        x = self.trunk(x, train, first_channels=8, join=3)
        x = layers.MultiHeadAttention(name="attention")(x)
        x = nn.relu(ops.widened(x)).mean((1, 2))  # (batch, 64)
        self.sow("intermediates", "embedding", x)
        return linear.Dense(self.num_classes, name="classifier")(x)


class AACNN(Baseline):
    """Area attention (Xu et al. 2021).

    Attributes:
      dropout_rate: Of the attention's weights.
    """

    dropout_rate: float = 0.5

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""
        x = self.trunk(x, train, first_channels=16, join=1)
        x = nn.relu(layers.AreaAttention(self.dropout_rate, self.batch_axis)(x, train))
        x = ops.widened(x.reshape(x.shape[0], -1))  # position-major
        self.sow("intermediates", "embedding", x)
        return linear.Dense(self.num_classes, name="classifier")(x)
