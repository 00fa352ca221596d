"""GLAM-plus: GLAM's two ideas at a fourth of its arithmetic, for any length of sound.

Beside each coefficient stands what it has over its mean in the segment, which a voice,
a room and a microphone change little. Multi-scale convolutions see both at two scales;
a global-aware fusion then gates the features of each frame by what the whole segment is
like. In place of a classifier of positions, time is summed up by attentive statistics,
so that no weight belongs to a place in time.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float

from glam_jax.models import layers, ops
from glam_jax.models.ops import linear, normalization


class GLAMPlus(nn.Module):
    """Two channels, line convolutions, multi-scale blocks, frames, fusion, statistics.

    Attributes:
      num_classes: Emotions told apart.
      batch_axis: Name of the mapped axis that the batch is split over, None for none.
      features: Of a frame.
      dropout_rate: Of the statistics that the classifier reads.
    """

    num_classes: int = 4
    batch_axis: str | None = None
    features: int = 128
    dropout_rate: float = 0.2

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""
        layers.check_shape(x, (4, 4), type(self).__name__)
        x = jnp.asarray(x)
        over_mean = ops.widened(x) - ops.widened(x).mean(axis=2, keepdims=True)
        x = jnp.stack([x, over_mean.astype(x.dtype)], axis=-1)
        along_frequency = linear.Conv(8, (5, 1), name="frequency_conv")(x)
        along_time = linear.Conv(8, (1, 5), name="time_conv")(x)
        x = linear.concatenate([along_frequency, along_time])
        x = normalization.BatchNormReLU(self.batch_axis, name="norm")(x, train)

        def block(x, name, pool=True):
            block = layers.MultiScaleBlock(self.batch_axis, pool, name=name)
            return block(x, train)

        x = block(x, "block1")  # (batch, frequency/2, time/2, 32)
        x = block(x, "block2")  # (batch, frequency/4, time/4, 64)
        x = block(x, "block3", pool=False)  # (batch, frequency/4, time/4, 128)

        frames = x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)
        frames = linear.Dense(self.features, name="frames")(frames)
        frames = GlobalAwareFrames(name="global_aware")(frames)
        x = AttentiveStatistics(name="pooling")(frames)  # (batch, 2 features)
        x = layers.Dropout(self.dropout_rate, self.batch_axis)(x, train)
        x = ops.widened(x)
        self.sow("intermediates", "embedding", x)
        return linear.Dense(self.num_classes, name="classifier")(x)


class GlobalAwareFrames(nn.Module):
    """A gMLP block whose gate is one for all frames: what their mean tells.

    (batch, frames, features) -> the same. GLAM's gate mixes positions of a fixed map
    (paper, section 3.2); this one knows no length.

    Attributes:
      expansion: Hidden features for each feature.
    """

    expansion: int = 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames features"]
    ) -> Float[Array, "batch frames features"]:
        features = x.shape[-1]
        y = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        hidden = linear.Dense(2 * self.expansion * features, name="expand")(y)
        value, gate = jnp.split(layers.gelu(hidden), 2, axis=-1)
        gate = linear.Dense(gate.shape[-1], name="gate")(gate.mean(axis=1))
        y = value * nn.tanh(1 + gate)[:, None]
        return x + linear.Dense(features, name="project")(y)


class AttentiveStatistics(nn.Module):
    """Mean and deviation over frames, weighed by attention (Okabe et al. 2018).

    (batch, frames, features) -> (batch, 2 features).
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames features"]
    ) -> Float[Array, "batch 2*features"]:
        scores = nn.tanh(linear.Dense(x.shape[-1] // 2, name="hidden")(x))
        scores = linear.Dense(1, name="score")(scores)
        weights = layers.softmax(scores.swapaxes(1, 2))  # (batch, 1, frames)
        wide = ops.widened(x)
        mean = (weights @ wide)[:, 0]
        variance = (weights @ jnp.square(wide - mean[:, None]))[:, 0]
        return jnp.concatenate([mean, jnp.sqrt(variance + 1e-5)], axis=-1)
