"""What runs on the devices: the training state, the step, and the evaluation."""

import dataclasses
import math
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from glam_jax import mapped, models, streams
from glam_jax.models import inputs

_TILE = 8, 128  # of a TPU's memory


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is trained with.

    Attributes:
      config: The recipe.
      model: The network.
      optimizer: See `create_optimizer`.
      num_classes: Emotions told apart.
      axis: Name of the mapped axis that batches are split over, None for none.
    """

    config: ml_collections.ConfigDict
    model: nn.Module
    optimizer: optax.GradientTransformation
    num_classes: int
    axis: str | None


def create_setup(
    config: ml_collections.ConfigDict, num_classes: int, axis: str | None = None
) -> Setup:
    """The network and the optimizer of a config; see `Setup`."""
    return Setup(
        config=config,
        model=create_network(config, num_classes, axis),
        optimizer=create_optimizer(config),
        num_classes=num_classes,
        axis=axis,
    )


def create_network(
    config: ml_collections.ConfigDict, num_classes: int, axis: str | None = None
) -> nn.Module:
    """The network of a config, with what the config does to its segments.

    Args:
      config: The recipe.
      num_classes: Emotions told apart.
      axis: The mapped axis that batches are split over, None for none.
    """
    done = inputs.Inputs.of(config.to_dict())
    return models.create_model(config.model, num_classes, done, batch_axis=axis)


# An array, on the host or on devices; or what JAX puts in its place: a tracer, a shape,
# an axis, a sharding.
Leaf = Any


class TrainState(flax.struct.PyTreeNode):
    """All that a training step changes.

    Attributes:
      step: Steps done.
      params: The network's parameters.
      batch_stats: The network's running averages, {} where it has none.
      opt_state: The optimizer's state.
      averages: {'params', 'batch_stats'} averaged over the steps, {} without.
      loss_sum: Sum of the losses of the current epoch's steps.
    """

    step: Leaf
    params: Any
    batch_stats: Any
    opt_state: Any
    averages: Any
    loss_sum: Leaf


class Data(flax.struct.PyTreeNode):
    """Segments on a device.

    Attributes:
      features: (segments, frequency, time) float32; see `tiled` for sound.
      utterance: (segments,) int32, the utterance that a segment is from.
      labels: (segments,) int32, the class of a segment.
      samples: Of a segment whose features are tiles; 0 where they are not.
    """

    features: Leaf
    utterance: Leaf
    labels: Leaf
    samples: int = flax.struct.field(pytree_node=False, default=0)

    def tiled(self) -> "Data":
        """The same, with segments of sound as (samples / 128, 128), filled up.

        In whole tiles of a TPU's memory, since it would copy all data in each step to
        read some long rows.
        """
        *segments, height, samples = self.features.shape
        if height != 1:
            return self
        x = self.features.reshape(*segments, samples)
        ends = [(0, 0)] * len(segments) + [(0, -samples % math.prod(_TILE))]
        x = jnp.pad(x, ends) if isinstance(x, jax.Array) else np.pad(x, ends)
        x = x.reshape(*segments, -1, _TILE[1])
        return self.replace(features=x, samples=samples)

    def segments(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape f t"]:
        """Segments by their indices."""
        x = self.features[indices]
        if not self.samples:
            return x
        return x.reshape(*indices.shape, 1, -1)[..., : self.samples]


class Window(flax.struct.PyTreeNode):
    """The steps of a run to train in one call.

    Attributes:
      seed: The run's seed.
      class_weights: (classes,) float32, the weight of each class's losses.
      mixing_weights: (steps,) float32, for each step of the epoch the weight of a
        batch's segments against their partners.
      epoch_start: The epoch's first step.
      start: The step of the first pairs at hand.
      stop: The step to stop before.
      steps_per_epoch: Steps in an epoch of the run.
    """

    seed: Leaf
    class_weights: Leaf
    mixing_weights: Leaf
    epoch_start: Leaf
    start: Leaf
    stop: Leaf
    steps_per_epoch: Leaf


def create_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam, AdamW, or SGD with Nesterov momentum, as PyTorch's; for a rate of 1.

    L2 is added to the gradient, and AdamW's decay to the update.
    """
    decay = optax.add_decayed_weights(config.weight_decay)
    if config.optimizer == "adamw":
        return optax.chain(optax.scale_by_adam(), decay)
    optimizer = {
        "adam": optax.scale_by_adam(),
        "sgd": optax.trace(config.momentum, nesterov=True),
    }[config.optimizer]
    return optax.chain(decay, optimizer)


def learning_rate(
    config: ml_collections.ConfigDict,
    step: Int[Array, ""] | int,
    steps_per_epoch: Int[Array, ""] | int,
) -> Float[Array, ""]:
    """The rate of a step, counted from 0.

    `exp` multiplies it by `learning_rate_decay` after each epoch, `step` after each
    `decay_epochs` epochs; `cosine` takes it to zero at the end. It rises linearly to
    that in the first `warmup_epochs`.
    """
    epoch = step // steps_per_epoch
    warmup_steps = config.warmup_epochs * steps_per_epoch
    cosine_steps = jnp.maximum(config.num_epochs * steps_per_epoch - warmup_steps, 1)
    done = jnp.maximum(step - warmup_steps, 0) / cosine_steps
    factor = {
        "exp": config.learning_rate_decay**epoch,
        "step": config.learning_rate_decay ** (epoch // config.decay_epochs),
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * done)),
    }[config.schedule]
    warmup = jnp.minimum((step + 1) / jnp.maximum(warmup_steps, 1), 1)
    return config.learning_rate * factor * warmup


def create_state(
    setup: Setup, feature_shape: tuple[int, int], seed: Int[ArrayLike, ""]
) -> TrainState:
    """A run's state before its first step."""
    segment = jnp.zeros((1, *feature_shape))
    # Without an axis: nothing is mapped here.
    model = create_network(setup.config, setup.num_classes)
    drawn = model.init(jax.random.key(seed), segment, train=False)
    weights = {"params": drawn["params"], "batch_stats": drawn.get("batch_stats", {})}
    return TrainState(
        step=jnp.int32(0),
        **weights,
        opt_state=setup.optimizer.init(weights["params"]),
        averages=weights if setup.config.ema else {},
        loss_sum=jnp.float32(0),
    )


def with_statistics(
    state: TrainState, mean: np.ndarray, deviation: np.ndarray
) -> TrainState:
    """A state before its first step, with what normalises its segments.

    Args:
      state: The state.
      mean: (frequency, 1), of each coefficient.
      deviation: (frequency, 1), of each coefficient.
    """
    known = {inputs.MEAN: mean, inputs.DEVIATION: deviation}
    state = state.replace(batch_stats=state.batch_stats | known)
    return state.replace(averages=trained(state)) if state.averages else state


def trained(state: TrainState) -> dict[str, Any]:
    """The weights that the steps change: what `model.apply` takes first."""
    return {"params": state.params, "batch_stats": state.batch_stats}


def variables(state: TrainState) -> dict[str, Any]:
    """The weights that are evaluated and used: averaged ones, where there are any."""
    return state.averages or trained(state)


def averaged(
    config: ml_collections.ConfigDict, state: TrainState, weights: dict[str, Any]
) -> dict[str, Any]:
    """The averages after a step; over fewer steps at first, as many as were done.

    Args:
      config: The recipe.
      state: The state before the step.
      weights: {'params', 'batch_stats'} after it.
    """
    if not config.ema:
        return {}
    decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
    return jax.tree.map(
        lambda average, new: decay * average + (1 - decay) * new,
        state.averages,
        weights,
    )


def dropout_key(seed: Int[ArrayLike, ""], step: Int[ArrayLike, ""]) -> Array:
    """The key of a step's dropout, by (seed, step)."""
    key = jax.random.fold_in(jax.random.key(seed), streams.number("dropout"))
    return jax.random.fold_in(key, step)


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    class_weights: Float[Array, " classes"],
    axis: str | None,
    smoothing: float = 0.0,
) -> Float[Array, ""]:
    """The mean over a global batch, each example weighing as much as its class.

    Args:
      logits: Of this device's examples.
      labels: Their classes.
      class_weights: The weight of each class.
      axis: The mapped axis that the batch is split over, None for none.
      smoothing: The share of a label that all classes have alike.

    Returns:
      This device's part of it, such that the mean over the devices is the whole.
    """
    weights = class_weights[labels]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if smoothing:
        alike = -nn.log_softmax(logits).mean(axis=-1)
        losses = (1 - smoothing) * losses + smoothing * alike
    return jnp.sum(weights * losses) / mapped.mean(jnp.sum(weights), axis)


def train_step(
    setup: Setup,
    state: TrainState,
    data: Data,
    pairs: Int[Array, "2 batch"],
    window: Window,
) -> TrainState:
    """One step of mixup training on this device's part of a global batch.

    Args:
      setup: The recipe, the network and the optimizer.
      state: The state before the step.
      data: The segments.
      pairs: (2, examples) int32 indices of the segments of this device's part of the
        batch, and of their partners.
      window: It gives the run's seed, its weights and the length of an epoch.

    Returns:
      The state after it, the same on all devices.
    """
    config, axis = setup.config, setup.axis
    weight = window.mixing_weights[state.step - window.epoch_start]
    features, labels = data.segments(pairs), data.labels[pairs]
    if inputs.mixes_features(setup.model):
        x, *partner = inputs.cast(setup.model, features, config.dtype)
        mixing = {"partner": partner[0], "weight": weight} if config.mixup_alpha else {}
    else:
        x = weight * features[0] + (1 - weight) * features[1]
        x, mixing = inputs.cast(setup.model, x, config.dtype), {}

    def loss_fn(params):
        logits, updates = setup.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            x,
            train=True,
            **mixing,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key(window.seed, state.step)},
        )
        told = window.class_weights, axis, config.label_smoothing
        losses = []
        for reading in logits.reshape(-1, *logits.shape[-2:]).astype(jnp.float32):
            loss = weight * cross_entropy(reading, labels[0], *told)
            loss += (1 - weight) * cross_entropy(reading, labels[1], *told)
            losses.append(loss)
        return sum(losses) / len(losses), updates.get("batch_stats", {})

    (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    updates, opt_state = setup.optimizer.update(
        mapped.mean(gradients, axis), state.opt_state, state.params
    )
    rate = learning_rate(config, state.step, window.steps_per_epoch)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    params = optax.apply_updates(state.params, updates)
    weights = {"params": params, "batch_stats": batch_stats}
    starts_epoch = state.step == window.epoch_start
    return TrainState(
        step=state.step + 1,
        **weights,
        opt_state=opt_state,
        averages=averaged(config, state, weights),
        loss_sum=jnp.where(starts_epoch, 0, state.loss_sum) + mapped.mean(loss, axis),
    )


def train_steps(
    setup: Setup,
    state: TrainState,
    data: Data,
    pairs: Int[Array, "steps 2 batch"],
    window: Window,
) -> TrainState:
    """Trains up to step `window.stop` without the host; a non-finite loss ends it.

    Args:
      setup: See `train_step`.
      state: The state before.
      data: The segments.
      pairs: (steps, 2, examples) int32, from step `window.start` on.
      window: The steps to train.

    Returns:
      The state after them, the same on all devices.
    """

    def unfinished(state):
        return (state.step < window.stop) & jnp.isfinite(state.loss_sum)

    def body(state):
        step_pairs = pairs[state.step - window.start]
        return train_step(setup, state, data, step_pairs, window)

    return lax.while_loop(unfinished, body, state)


def memory_per_run(setup: Setup, feature_shape: tuple[int, int]) -> int:
    """About how many bytes a run in training takes on a device.

    Its state twice (before and after a step), its gradients, and what the forward pass
    keeps for the backward pass.
    """
    state = jax.eval_shape(lambda: create_state(setup, feature_shape, jnp.int32(0)))

    def backward(params, batch_stats):
        def forward(params):
            x = jnp.zeros((setup.config.batch_size, *feature_shape))
            logits, _ = setup.model.apply(
                {"params": params, "batch_stats": batch_stats},
                inputs.cast(setup.model, x, setup.config.dtype),
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            return logits

        return jax.vjp(forward, params)[1]

    kept = jax.eval_shape(backward, state.params, state.batch_stats)

    def size(tree):
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    return 2 * size(state) + size(state.params) + size(kept)


def evaluate(
    setup: Setup,
    batch_size: int,
    num_utterances: int,
    variables: dict,
    data: Data,
    segments: Int[Array, " segments"],
) -> Float[Array, "{num_utterances} {setup.num_classes}"]:
    """Sums the logits of each utterance's segments.

    Args:
      setup: See `train_step`.
      batch_size: Segments at a time.
      num_utterances: Utterances in the data set.
      variables: {'params', 'batch_stats'}.
      data: The segments.
      segments: (n,) int32 indices of this device's segments, then -1 up to a multiple
        of `batch_size`.

    Returns:
      (utterances, classes) float32 over all devices; zero for an utterance without a
      segment here.
    """
    num_batches = (jnp.sum(segments >= 0) + batch_size - 1) // batch_size

    def body(i, logit_sums):
        batch = lax.dynamic_slice_in_dim(segments, i * batch_size, batch_size)
        x = inputs.cast(setup.model, data.segments(batch), setup.config.dtype)
        logits: Any = setup.model.apply(variables, x, train=False)
        logits = jnp.where(batch[:, None] >= 0, logits, 0)
        return logit_sums.at[data.utterance[batch]].add(logits)

    logit_sums = jnp.zeros((num_utterances, setup.num_classes))
    logit_sums = lax.fori_loop(0, num_batches, body, logit_sums)
    return mapped.total(logit_sums, setup.axis)
