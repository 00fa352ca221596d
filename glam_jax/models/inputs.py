"""What a recipe does to segments on their way into a network, as layers before it.

They are part of the network: its weights carry the mean and deviation of the training
segments, and whoever loads or exports it has them.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from glam_jax import streams
from glam_jax.models import frontend, layers

MEAN, DEVIATION = "input_mean", "input_deviation"  # in the collection batch_stats
_WIDEST_MASK = 0.15  # of the axis
_BLOCK = 128  # samples, the lanes of a TPU


@dataclasses.dataclass(frozen=True)
class Augment:
    """How training segments are varied: each example by draws of its own.

    Attributes:
      speed: The largest change of speed and pitch: 0.1 for 0.9 to 1.1. Of waveforms, as
        the next two.
      gain: The largest change of level, in dB.
      noise: The share of examples that get white noise, at a signal-to-noise ratio
        from 10 to 40 dB.
      warp: The largest stretch of the frequency axis (VTLP, Jaitly & Hinton 2013).
      masks: Bands and stretches of time that are zero, which is the mean where features
        are normalised (SpecAugment, Park et al. 2019), up to that many of each.
      shift: Whether a segment begins anywhere, its start following its end.
    """

    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    warp: float = 0.0
    masks: int = 0
    shift: bool = False


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is done to segments before a network.

    Attributes:
      frontend: The features that are computed from waveforms, see `frontend.KINDS`; ''
        where the records hold the features.
      pad_mode: Of these features.
      short: What fills up the segment of a short recording, see `features.segment`. Of
        silence there are no features: frames that reach into it are zero in each
        coefficient, normalised or not, and `layers.real_frames` tells which are.
      normalise: 'training' for mean 0 and deviation 1 of each coefficient over the
        training segments, 'none' for features as they are; 'speaker' is done to all
        segments of a speaker before, see `input_pipeline.load`.
      augment: How training segments are varied.
      dtype: The precision of the network; all before it is done in float32.
    """

    frontend: str = ""
    pad_mode: str = "reflect"
    short: str = "repeat"
    normalise: str = "none"
    augment: Augment = Augment()
    dtype: str = "float32"

    @property
    def has_silence(self) -> bool:
        """Whether silence fills segments up."""
        return self.short == "silence"

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Inputs":
        """From the fields of a config, or from what model.json has of them."""
        augment = Augment(**described.get("augment", {}))
        names = [field.name for field in dataclasses.fields(cls)]
        told = {name: described[name] for name in names if name in described}
        return cls(**told | {"augment": augment})


def before(network: nn.Module, inputs: Inputs, axis: str | None) -> nn.Module:
    """The network, with what is done to its segments; the network alone for nothing.

    Args:
      network: The network.
      inputs: What is done to its segments.
      axis: The mapped axis that a batch is split over, None for none.
    """
    if dataclasses.replace(inputs, pad_mode="reflect", dtype="float32") == Inputs():
        return network
    return WithInputs(network, inputs, axis)


def cast(model: nn.Module, x: Any, dtype: str) -> Any:
    """Segments as a model takes them: in the precision that it is to compute in.

    What is done to segments before a network is done in float32: of sound in bfloat16
    eight bits were left.
    """
    return x.astype(jnp.float32 if isinstance(model, WithInputs) else dtype)


def in_precision(model: nn.Module, dtype: str) -> nn.Module:
    """A model that computes in a precision once `cast` has given it its segments."""
    if not isinstance(model, WithInputs):
        return model
    return model.clone(inputs=dataclasses.replace(model.inputs, dtype=dtype))


class WithInputs(nn.Module):
    """A network that does to its segments what a recipe says.

    Attributes:
      network: The network, which keeps its names in the tree of variables.
      inputs: What is done to them.
      axis: The mapped axis that a batch is split over, None for none.
    """

    network: nn.Module
    inputs: Inputs
    axis: str | None = None

    def setup(self):
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool,
        partner: jax.Array | None = None,
        weight: jax.Array | float = 1.0,
    ) -> jax.Array:
        """(batch, frequency or 1, time or samples) -> logits, (batch, num_classes).

        Args:
          x: The segments.
          train: Whether they are varied, and the network is trained.
          partner: Segments whose features these are mixed with; None for none.
          weight: Of these against their partners.
        """
        augment = self.inputs.augment
        draws = self._draws(x) if train and augment != Augment() else None
        x = self.features(x, draws)
        if partner is not None:
            of_partner = None if draws is None else self._draws(partner)
            x = _mixed(x, self.features(partner, of_partner), weight)
        if draws is not None and augment.warp:
            x = jax.vmap(_warped, (0, 0, None))(x, draws, augment.warp)
        if self.inputs.normalise == "training":
            x = self._normalised(x)
        if draws is not None and augment.masks:
            x = jax.vmap(_masked, (0, 0, None))(x, draws, augment.masks)
        return self.network(x.astype(self.inputs.dtype), train)

    def features(self, x: jax.Array, draws: jax.Array | None = None) -> jax.Array:
        """(batch, frequency, time) of segments as they are in the records.

        Args:
          x: The segments.
          draws: A key for each, by which waveforms are varied; None to leave them.
        """
        x = jnp.asarray(x, jnp.float32)
        if draws is not None:
            x = jax.vmap(_varied, (0, 0, None))(x, draws, self.inputs)
        if not self.inputs.frontend:
            return x
        kind = self.inputs.frontend
        y = frontend.extract(kind, x[:, 0], self.inputs.pad_mode)
        if self.inputs.has_silence:
            real = frontend.frames_within(kind, jax.vmap(_end)(x), y.shape[2])
            y = jnp.where(real[:, None], y, 0)
        return y

    def _draws(self, x: jax.Array) -> jax.Array:
        return layers.example_keys(self.make_rng("dropout"), len(x), self.axis)

    def _normalised(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[1], 1)
        mean = self.variable("batch_stats", MEAN, jnp.zeros, shape)
        deviation = self.variable("batch_stats", DEVIATION, jnp.ones, shape)
        y = (x - mean.value) / deviation.value
        if self.inputs.has_silence:
            y = jnp.where(layers.real_frames(x)[:, None], y, 0)
        return y


def mixes_features(network: nn.Module) -> bool:
    """Whether mixup is of features that a network computes, and not of its segments."""
    return isinstance(network, WithInputs) and bool(network.inputs.frontend)


def _mixed(x: jax.Array, partner: jax.Array, weight: jax.Array | float) -> jax.Array:
    """Features mixed in the frames that both have; in others, what weighs more."""
    both = layers.real_frames(x) & layers.real_frames(partner)
    heavier = jnp.where(weight < 0.5, partner, x)
    return jnp.where(both[:, None], weight * x + (1 - weight) * partner, heavier)


def _key(draw: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(draw, streams.number(name))


def _end(x: jax.Array) -> jax.Array:
    """Where the silence begins that fills up (1, samples); all of it counts in full."""
    place = jnp.where(x[0] != 0, jnp.arange(1, x.shape[1] + 1), 0)
    return place.max()


def _varied(x: jax.Array, draw: jax.Array, inputs: Inputs) -> jax.Array:
    """(1, samples) or (frequency, time), shifted, and a waveform varied."""
    augment = inputs.augment
    end = _end(x) if inputs.has_silence else x.shape[1]
    if augment.shift:
        start = jax.random.uniform(_key(draw, "start")) * end
        x = _shifted(x, start.astype(jnp.int32), end)
    if augment.speed:
        change = augment.speed * jax.random.uniform(_key(draw, "speed"), minval=-1)
        x = _at_speed(x, change, augment.speed, end, inputs.has_silence)
    if augment.gain:
        decibel = jax.random.uniform(_key(draw, "gain"), minval=-1) * augment.gain
        x = x * 10 ** (decibel / 20)
    if augment.noise:
        ratio = jax.random.uniform(_key(draw, "ratio"), minval=10.0, maxval=40.0)
        end = _end(x) if inputs.has_silence else x.shape[1]
        sounds = jnp.arange(x.shape[1]) < end
        power = jnp.mean(jnp.square(x), where=sounds)
        level = jnp.sqrt(power * 10 ** (-ratio / 10))
        is_noisy = jax.random.bernoulli(_key(draw, "is noisy"), augment.noise)
        noise = level * jax.random.normal(_key(draw, "noise"), x.shape)
        x += is_noisy * jnp.where(sounds, noise, 0)
    return x


def _shifted(x: jax.Array, start: jax.Array, end: jax.Array | int) -> jax.Array:
    """(n, time) from another start, whose own start follows its end."""
    length = x.shape[1]
    twice = jnp.concatenate([x, x], axis=1)
    late = lax.dynamic_slice_in_dim(twice, start, length, axis=1)
    early = lax.dynamic_slice_in_dim(twice, length - (end - start), length, axis=1)
    place = jnp.arange(length)
    return jnp.where(place < end - start, late, jnp.where(place < end, early, x))


def _at_speed(
    x: jax.Array,
    change: jax.Array,
    most: float,
    end: jax.Array | int,
    has_silence: bool,
) -> jax.Array:
    """(1, samples), faster by a share of at most `most`, or slower.

    Silence follows what was played, or else its start.
    """
    length = x.shape[1]
    place = (1 + change) * jnp.arange(length)
    beyond = math.ceil(most * length) + 1
    x = jnp.concatenate([x, x[:, :beyond]], axis=1)
    read = functools.partial(_read_by_slices, most=most)
    played = lax.platform_dependent(x[0], place, cpu=_read, cuda=_read, default=read)
    return jnp.where(place < end - 1, played, 0)[None] if has_silence else played[None]


def _read(x: jax.Array, place: jax.Array) -> jax.Array:
    """(samples,) at places between them."""
    before = jnp.floor(place)
    share = place - before
    # Faster than x[before], which looks after negative places.
    at = functools.partial(jnp.take, x, mode="clip")
    before = before.astype(jnp.int32)
    return at(before) * (1 - share) + at(before + 1) * share


def _read_by_slices(x: jax.Array, place: jax.Array, most: float) -> jax.Array:
    """As `_read`, of places that drift from a steady pace by a share of at most `most`.

    A TPU reads slices fast, and single samples slowly: each block of places is read as
    one slice, and a place is the sum of those samples that its drift can reach.
    """
    drift = math.ceil(most * _BLOCK) + 1
    blocks = jnp.pad(place, (0, -len(place) % _BLOCK), mode="edge")
    blocks = blocks.reshape(-1, _BLOCK)
    begins = jnp.floor(blocks[:, 0]).astype(jnp.int32)
    size = _BLOCK + 2 * drift
    x = jnp.pad(x, (drift, size))
    slices = jax.vmap(lambda begin: lax.dynamic_slice(x, (begin,), (size,)))(begins)
    drifted = blocks - begins[:, None] - jnp.arange(_BLOCK) + drift
    read = jnp.zeros_like(drifted)
    for at in range(2 * drift + 1):
        weight = jnp.maximum(1 - jnp.abs(drifted - at), 0)
        read += weight * slices[:, at : at + _BLOCK]
    return read.reshape(-1)[: len(place)]


def _warped(x: jax.Array, draw: jax.Array, most: float) -> jax.Array:
    """(frequency, time) with its frequency axis stretched; the highest bins repeat."""
    stretch = 1 + most * jax.random.uniform(_key(draw, "warp"), minval=-1)
    last = len(x) - 1
    place = jnp.minimum(jnp.arange(len(x)) * stretch, last)
    before = jnp.minimum(jnp.floor(place).astype(jnp.int32), last - 1)
    share = (place - before)[:, None]
    return x[before] * (1 - share) + x[before + 1] * share


def _masked(x: jax.Array, draw: jax.Array, most: int) -> jax.Array:
    """(frequency, time) with bands and stretches of time set to zero."""
    for number in range(most):
        for axis, size in enumerate(x.shape):
            key = jax.random.fold_in(_key(draw, "mask"), 2 * number + axis)
            wide, begin = jax.random.uniform(key, (2,))
            width = wide * _WIDEST_MASK * size
            place = jnp.arange(size) - begin * (size - width)
            hidden = (place >= 0) & (place < width)
            x = jnp.where(jnp.expand_dims(hidden, 1 - axis), 0, x)
    return x
