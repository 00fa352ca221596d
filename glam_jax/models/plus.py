"""GLAM-plus: GLAM's two ideas, and what a voice does in an utterance as a whole.

Two readings of a recording answer together. One is GLAM's: multi-scale convolutions of
the spectrum, and a global-aware fusion that gates the features of each frame by what
the whole segment is like; attentive statistics sum time up, so that no weight belongs
to a place in time. The other knows no detail: the functionals of each coefficient, the
pitch among them, as linear models of emotion have had them for long. Each is trained as
if it were alone, so that neither leaves the work to the other.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Bool, Float

from data_prep import features as features_lib
from glam_jax.models import layers, ops
from glam_jax.models.ops import linear, normalization


class GLAMPlus(nn.Module):
    """Two readings, by convolutions and by functionals, and the mean of their answers.

    Frames of zeros are none, see `layers.real_frames`.

    Attributes:
      num_classes: Emotions told apart.
      batch_axis: Name of the mapped axis that the batch is split over, None for none.
      features: Of a frame.
      dropout_rate: Of the statistics that the convolutions' classifier reads.
      hidden: Features of the functionals.
      hidden_dropout_rate: Of these.
    """

    num_classes: int = 4
    batch_axis: str | None = None
    features: int = 128
    dropout_rate: float = 0.2
    hidden: int = 512
    hidden_dropout_rate: float = 0.5

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "batch frequency time"], train: bool
    ) -> Float[Array, "*readings batch {self.num_classes}"]:
        """(batch, frequency, time) -> logits, (batch, num_classes).

        In training of both readings, (2, batch, num_classes). Of `mfcc_pitch`, which is
        what 39 coefficients are taken for, the convolutions see the first 26, the MFCC;
        of other features all.
        """
        layers.check_shape(x, (4, 4), type(self).__name__)
        x = jnp.asarray(x)
        real = layers.real_frames(x)
        has_pitch = x.shape[1] == features_lib.N_MFCC + features_lib.N_PITCH
        spectrum = x[:, : features_lib.N_MFCC] if has_pitch else x
        embeddings = self._detail(spectrum, real, train), self._whole(x, real, train)
        self.sow("intermediates", "embedding", jnp.concatenate(embeddings, axis=-1))
        names = "classifier", "whole_classifier"
        detail, whole = (
            nn.log_softmax(linear.Dense(self.num_classes, name=name)(embedding))
            for name, embedding in zip(names, embeddings, strict=True)
        )
        return jnp.stack([detail, whole]) if train else (detail + whole) / 2

    def _detail(
        self,
        x: Float[Array, "batch f time"],
        real: Bool[Array, "batch time"],
        train: bool,
    ) -> Float[Array, "batch _"]:
        """Convolutions of two channels, frames, fusion, statistics."""
        over_mean = ops.widened(x) - _mean(ops.widened(x), real[:, None], 2)[..., None]
        over_mean = jnp.where(real[:, None], over_mean, 0).astype(x.dtype)
        x = jnp.concatenate([x[..., None], over_mean[..., None]], axis=-1)
        along_frequency = linear.Conv(8, (5, 1), name="frequency_conv")(x)
        along_time = linear.Conv(8, (1, 5), name="time_conv")(x)
        x = linear.concatenate([along_frequency, along_time])
        x = normalization.BatchNormReLU(self.batch_axis, name="norm")(x, train)

        def block(x, name, pool=True):
            block = layers.MultiScaleBlock(self.batch_axis, pool, name=name)
            return block(x, train)

        x = block(x, "block1")  # (batch, f/2, time/2, 32)
        x = block(x, "block2")  # (batch, f/4, time/4, 64)
        x = block(x, "block3", pool=False)  # (batch, f/4, time/4, 128)

        frames = x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)
        frames = linear.Dense(self.features, name="frames")(frames)
        end = 4 * frames.shape[1]  # a frame is now one where one of four was
        quarters = [real[:, at:end:4] for at in range(4)]
        real = functools.reduce(jnp.logical_or, quarters)
        frames = GlobalAwareFrames(name="global_aware")(frames, real)
        x = AttentiveStatistics(name="pooling")(frames, real)  # (batch, 2 features)
        x = layers.Dropout(self.dropout_rate, self.batch_axis)(x, train)
        return ops.widened(x)

    def _whole(
        self,
        x: Float[Array, "batch f time"],
        real: Bool[Array, "batch time"],
        train: bool,
    ) -> Float[Array, "batch {self.hidden}"]:
        """Functionals, each with mean 0 and deviation 1, and a layer of them."""
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            axis_name=self.batch_axis,
            use_scale=False,
            use_bias=False,
            use_fast_variance=False,
            name="functionals",
        )(functionals(ops.widened(x), real))
        x = nn.relu(linear.Dense(self.hidden, name="hidden")(x))
        return layers.Dropout(self.hidden_dropout_rate, self.batch_axis)(x, train)


def functionals(
    x: Float[Array, "batch f time"], real: Bool[Array, "batch time"]
) -> Float[Array, "batch 4*f"]:
    """What each coefficient does over time: mean, deviation, change, trend.

    The change is the mean difference of two frames, whatever its sign; the trend is how
    far the line through the frames rises from the middle to the end.

    Args:
      x: Segments.
      real: Which frames are in them.
    """
    real = real[:, None]
    mean = _mean(x, real, 2)
    over_mean = jnp.where(real, x - mean[..., None], 0)
    deviation = jnp.sqrt(_mean(jnp.square(over_mean), real, 2) + 1e-5)
    follows = real[..., 1:] & real[..., :-1]
    change = _mean(jnp.abs(jnp.diff(x, axis=2)), follows, 2)
    frame = jnp.arange(x.shape[2])
    middle = _mean(frame, real, 2)[..., None]
    half = jnp.maximum(jnp.max(jnp.where(real, frame - middle, 0), axis=2), 1)
    place = jnp.where(real, frame - middle, 0) / half[..., None]
    trend = _mean(over_mean * place, real, 2) / (_mean(place**2, real, 2) + 1e-5)
    return jnp.concatenate([mean, deviation, change, trend], axis=1)


def _mean(x: jax.Array, counts: jax.Array, axis: int) -> jax.Array:
    """The mean over an axis of what counts; 0 where nothing does."""
    total = jnp.sum(jnp.where(counts, x, 0), axis=axis)
    return total / jnp.maximum(jnp.sum(counts, axis=axis), 1)


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
        self,
        x: Float[Array, "batch frames features"],
        real: Bool[Array, "batch frames"],
    ) -> Float[Array, "batch frames features"]:
        features = x.shape[-1]
        y = nn.LayerNorm(epsilon=1e-5, dtype=x.dtype, name="norm")(x)
        hidden = linear.Dense(2 * self.expansion * features, name="expand")(y)
        value, gate = jnp.split(layers.gelu(hidden), 2, axis=-1)
        gate = _mean(gate, real[..., None], 1)
        gate = linear.Dense(gate.shape[-1], name="gate")(gate.astype(x.dtype))
        y = value * nn.tanh(1 + gate)[:, None]
        return x + linear.Dense(features, name="project")(y)


class AttentiveStatistics(nn.Module):
    """Mean and deviation over frames, weighed by attention (Okabe et al. 2018).

    (batch, frames, features) -> (batch, 2 features).
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames features"],
        real: Bool[Array, "batch frames"],
    ) -> Float[Array, "batch 2*features"]:
        scores = nn.tanh(linear.Dense(x.shape[-1] // 2, name="hidden")(x))
        scores = ops.widened(linear.Dense(1, name="score")(scores))
        scores = jnp.where(real[..., None], scores, _NEVER)
        weights = layers.softmax(scores.swapaxes(1, 2))  # (batch, 1, frames)
        wide = ops.widened(x)
        mean = (weights @ wide)[:, 0]
        variance = (weights @ jnp.square(wide - mean[:, None]))[:, 0]
        return jnp.concatenate([mean, jnp.sqrt(variance + 1e-5)], axis=-1)


_NEVER = -1e9  # a score; no infinity, for segments without any frame
