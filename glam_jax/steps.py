"""What runs on the devices: the training state, the step, and the evaluation."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn
from jax import lax

from glam_jax import parallel


@flax.struct.dataclass
class TrainState:
    """All that a training step changes.

    Attributes:
      step: steps done.
      params: the model's parameters.
      batch_stats: the model's running averages.
      opt_state: the optimizer's.
      loss_sum: sum of the losses of the current epoch's steps.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    loss_sum: jax.Array


@flax.struct.dataclass
class Data:
    """Segments on a device.

    Attributes:
      features: (segments, frequency, time) float32.
      utterance: (segments,) int32, the utterance of a segment.
      labels: (segments,) int32.
    """

    features: jax.Array
    utterance: jax.Array
    labels: jax.Array


@flax.struct.dataclass
class Window:
    """The steps to train in one call, of a run.

    Attributes:
      seed: of the run.
      class_weights: (classes,) of the run's losses.
      epoch_start: the epoch's first step.
      start: the step of the first pairs at hand.
      stop: the step to stop before.
      steps_per_epoch: of the run.
    """

    seed: jax.Array
    class_weights: jax.Array
    epoch_start: jax.Array
    start: jax.Array
    stop: jax.Array
    steps_per_epoch: jax.Array


OPTIMIZERS = ("adam", "sgd")
DTYPES = ("float32", "bfloat16")
SCHEDULES = ("exp", "step", "cosine")


def create_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam, or SGD with Nesterov momentum, as PyTorch's; for a learning rate of 1.

    L2 is added to the gradient.
    """
    optimizer = {
        "adam": optax.scale_by_adam(),
        "sgd": optax.trace(config.momentum, nesterov=True),
    }[config.optimizer]
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optimizer)


def learning_rate(
    config: ml_collections.ConfigDict, step: jax.Array, steps_per_epoch: jax.Array
) -> jax.Array:
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
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    feature_shape: tuple[int, int],
    seed: jax.Array,
) -> TrainState:
    """A run's state before its first step."""
    segment = jnp.zeros((1, *feature_shape))
    variables = model.init(jax.random.key(seed), segment, train=False)
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        loss_sum=jnp.float32(0),
    )


def mixing_weight(seed: jax.Array, step: jax.Array, alpha: float) -> jax.Array:
    """The weight of a batch's examples against their partners' (paper, section 3.3).

    Drawn from Beta(alpha, alpha) by (seed, step); 1 for alpha 0.
    """
    if alpha == 0:
        return jnp.float32(1)
    return jax.random.beta(_step_keys(seed, step)[0], alpha, alpha)


def partners(seed: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """(batch_size,) with whom a batch's examples are mixed: a permutation of it."""
    return jax.random.permutation(_step_keys(seed, step)[1], batch_size)


@jax.jit
def pair(seed: jax.Array, first_step: jax.Array, batches: jax.Array) -> jax.Array:
    """(steps, 2, batch_size) the batches of some steps, and their examples' partners.

    Args:
      seed: of the run.
      first_step: of the batches.
      batches: (steps, batch_size).
    """
    count, size = batches.shape
    permutations = jax.vmap(lambda step: partners(seed, step, size))(
        first_step + jnp.arange(count)
    )
    others = jnp.take_along_axis(batches, permutations, axis=1)
    return jnp.stack([batches, others], axis=1)


def dropout_key(seed: jax.Array, step: jax.Array) -> jax.Array:
    """The key of a step's dropout."""
    return _step_keys(seed, step)[2]


def _step_keys(seed: jax.Array, step: jax.Array) -> jax.Array:
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), step), 3)


def cross_entropy(
    logits: jax.Array, labels: jax.Array, class_weights: jax.Array, axis: str | None
) -> jax.Array:
    """The mean over a global batch, each example weighing as much as its class.

    Returns:
      This device's part of it, such that the mean over the devices is the whole.
    """
    weights = class_weights[labels]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(weights * losses) / parallel.mean(jnp.sum(weights), axis)


def train_step(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Data,
    pairs: jax.Array,
    window: Window,
) -> TrainState:
    """One step of mixup training on this device's part of a global batch.

    Args:
      config: the recipe.
      model: the network.
      optimizer: see `create_optimizer`.
      state: before the step.
      data: segments.
      pairs: (2, examples) indices of the segments of this device's part of the batch,
        and of their partners.
      window: for the run's seed and the length of an epoch.

    Returns:
      The state after it, the same on all devices.
    """
    axis = model.batch_axis
    weight = mixing_weight(window.seed, state.step, config.mixup_alpha)
    features, labels = data.features[pairs], data.labels[pairs]
    x = weight * features[0] + (1 - weight) * features[1]
    x = x.astype(config.dtype)

    def loss_fn(params):
        logits, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key(window.seed, state.step)},
        )
        class_weights = window.class_weights
        loss = weight * cross_entropy(logits, labels[0], class_weights, axis)
        loss += (1 - weight) * cross_entropy(logits, labels[1], class_weights, axis)
        return loss, updates["batch_stats"]

    (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    updates, opt_state = optimizer.update(
        parallel.mean(gradients, axis), state.opt_state, state.params
    )
    rate = learning_rate(config, state.step, window.steps_per_epoch)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    starts_epoch = state.step == window.epoch_start
    return TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        loss_sum=jnp.where(starts_epoch, 0, state.loss_sum) + parallel.mean(loss, axis),
    )


def train_steps(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Data,
    pairs: jax.Array,
    window: Window,
) -> TrainState:
    """Trains up to step `window.stop` without the host; a non-finite loss ends it.

    Args:
      pairs: (steps, 2, examples), from step `window.start` on; see `train_step`.
    """

    def unfinished(state):
        return (state.step < window.stop) & jnp.isfinite(state.loss_sum)

    def body(state):
        step_pairs = pairs[state.step - window.start]
        return train_step(config, model, optimizer, state, data, step_pairs, window)

    return lax.while_loop(unfinished, body, state)


def memory_per_run(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    feature_shape: tuple[int, int],
    config: ml_collections.ConfigDict,
) -> int:
    """About how many bytes a run in training takes on a device.

    Its state twice (before and after a step), its gradients, and what the forward pass
    keeps for the backward pass.
    """
    state = jax.eval_shape(
        lambda: create_state(model, optimizer, feature_shape, jnp.int32(0))
    )

    def backward(params, batch_stats):
        def forward(params):
            logits, _ = model.apply(
                {"params": params, "batch_stats": batch_stats},
                jnp.zeros((config.batch_size, *feature_shape), config.dtype),
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
    config: ml_collections.ConfigDict,
    model: nn.Module,
    batch_size: int,
    num_utterances: int,
    variables: dict,
    data: Data,
    segments: jax.Array,
) -> jax.Array:
    """Sums the logits of each utterance's segments.

    Args:
      config: the recipe.
      model: the network.
      batch_size: segments at a time.
      num_utterances: of the data set.
      variables: {'params', 'batch_stats'}.
      data: segments.
      segments: indices of this device's segments, then -1 up to a multiple of
        `batch_size`.

    Returns:
      (utterances, classes) over all devices; zero for an utterance without a segment
      here.
    """
    num_batches = (jnp.sum(segments >= 0) + batch_size - 1) // batch_size

    def body(i, logit_sums):
        batch = lax.dynamic_slice_in_dim(segments, i * batch_size, batch_size)
        x = data.features[batch].astype(config.dtype)
        logits = model.apply(variables, x, train=False)
        logits = jnp.where(batch[:, None] >= 0, logits, 0)
        return logit_sums.at[data.utterance[batch]].add(logits)

    logit_sums = jnp.zeros((num_utterances, model.num_classes))
    logit_sums = lax.fori_loop(0, num_batches, body, logit_sums)
    return parallel.total(logit_sums, model.batch_axis)
