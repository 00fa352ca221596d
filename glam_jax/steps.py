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
    """A data set on a device: see `input_pipeline.Dataset`."""

    features: jax.Array
    utterance: jax.Array
    labels: jax.Array


@flax.struct.dataclass
class Window:
    """The steps to train in one call, of a run with this seed."""

    seed: jax.Array
    epoch_start: jax.Array
    stop: jax.Array
    steps_per_epoch: jax.Array


def create_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient, as PyTorch's; for a learning rate of 1."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay), optax.scale_by_adam()
    )


def learning_rate(config: ml_collections.ConfigDict, epoch: jax.Array) -> jax.Array:
    """The rate of an epoch, counted from 0."""
    return config.learning_rate * config.learning_rate_decay**epoch


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


def mixup(
    seed: jax.Array, step: jax.Array, batch_size: int, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Draws a batch's mixing weight and partners from (seed, step).

    Returns:
      The weight of an example against its partner's, ~ Beta(alpha, alpha), and the
      partners, a permutation of the batch (paper, section 3.3). Weight 1 for alpha 0.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    weight_key, partner_key = jax.random.split(key)
    partners = jax.random.permutation(partner_key, batch_size)
    if alpha == 0:
        return jnp.float32(1), partners
    return jax.random.beta(weight_key, alpha, alpha), partners


def train_step(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Data,
    batch: jax.Array,
    window: Window,
) -> TrainState:
    """One step of mixup training on this device's part of a global batch.

    Args:
      config: the recipe.
      model: the network.
      optimizer: see `create_optimizer`.
      state: before the step.
      data: the data set.
      batch: (global batch size,) indices of segments.
      window: for the run's seed and the length of an epoch.

    Returns:
      The state after it, the same on all devices.
    """
    weight, partners = mixup(window.seed, state.step, len(batch), config.mixup_alpha)
    first = parallel.my_part(batch)
    second = parallel.my_part(batch[partners])
    x = weight * data.features[first] + (1 - weight) * data.features[second]
    first_labels = data.labels[data.utterance[first]]
    second_labels = data.labels[data.utterance[second]]

    def loss_fn(params):
        logits, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            x,
            train=True,
            mutable=["batch_stats"],
        )
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        losses = weight * cross_entropy(logits, first_labels)
        losses += (1 - weight) * cross_entropy(logits, second_labels)
        return losses.mean(), updates["batch_stats"]

    (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    updates, opt_state = optimizer.update(
        parallel.mean(gradients), state.opt_state, state.params
    )
    rate = learning_rate(config, state.step // window.steps_per_epoch)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    starts_epoch = state.step == window.epoch_start
    return TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        loss_sum=jnp.where(starts_epoch, 0, state.loss_sum) + parallel.mean(loss),
    )


def train_steps(
    config: ml_collections.ConfigDict,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Data,
    order: jax.Array,
    window: Window,
) -> TrainState:
    """Trains up to step `window.stop` without the host; a non-finite loss ends it.

    Args:
      order: the epoch's segments in the order of training.
    """

    def unfinished(state):
        return (state.step < window.stop) & jnp.isfinite(state.loss_sum)

    def body(state):
        start = (state.step - window.epoch_start) * config.batch_size
        batch = lax.dynamic_slice_in_dim(order, start, config.batch_size)
        return train_step(config, model, optimizer, state, data, batch, window)

    return lax.while_loop(unfinished, body, state)


def evaluate(
    model: nn.Module,
    batch_size: int,
    variables: dict,
    data: Data,
    segments: jax.Array,
) -> jax.Array:
    """Sums the logits of each utterance's segments.

    Args:
      model: the network.
      batch_size: segments at a time, over all devices.
      variables: {'params', 'batch_stats'}.
      data: the data set.
      segments: indices of segments, then -1 up to a multiple of `batch_size`.

    Returns:
      (utterances, classes); zero for an utterance without a segment here.
    """
    num_batches = (jnp.sum(segments >= 0) + batch_size - 1) // batch_size

    def body(i, logit_sums):
        batch = lax.dynamic_slice_in_dim(segments, i * batch_size, batch_size)
        batch = parallel.my_part(batch)
        logits = model.apply(variables, data.features[batch], train=False)
        logits = jnp.where(batch[:, None] >= 0, logits, 0)
        return logit_sums.at[data.utterance[batch]].add(logits)

    logit_sums = jnp.zeros((len(data.labels), model.num_classes))
    return parallel.total(lax.fori_loop(0, num_batches, body, logit_sums))
