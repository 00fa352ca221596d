"""The step on the devices: the reference's trajectory, N devices equal one, mixup."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import linen as nn
from helpers import (
    DATA,
    assert_trees_close,
    build,
    mixed,
    reference,
    speech_like,
    window,
)
from networks import TINY

from configs import iemocap
from glam_jax import models, parallel, steps


@pytest.fixture
def recipe():
    return iemocap.get_config()


def evaluated(model_name, variables, inputs):
    """The logits of a model."""
    model = models.create_model(model_name)
    return np.asarray(
        jax.jit(functools.partial(model.apply, train=False))(variables, inputs)
    )


@pytest.mark.slow  # test_models.py compares one pass
def test_twelve_steps_follow_the_reference(recipe):
    """Losses within 1 % for six steps (golden), and here for all twelve."""
    golden = np.load(DATA / "trajectory_glam.npz")
    features = golden["inputs"].reshape(-1, 26, 57)
    data = steps.Data(
        features, np.arange(len(features), dtype=np.int32), golden["labels"].ravel()
    )
    train_step, state = build(recipe, data, 1)
    state = state.replace(**reference("glam")[2])
    all_steps = window(mixing_weights=golden["lam"])
    losses, total = [], 0.0
    for step in range(12):
        batch = np.arange(32 * step, 32 * (step + 1), dtype=np.int32)
        pairs = np.stack([batch, batch[golden["perm"][step]]])
        state = train_step(state, pairs, all_steps)
        losses.append(float(state.loss_sum) - total)
        total += losses[-1]
    np.testing.assert_allclose(losses, golden["losses"], rtol=0.01)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = evaluated("glam", variables, golden["eval_inputs"])
    error = np.abs(logits - golden["eval_logits"]).max()
    assert error < 0.01 * np.abs(golden["eval_logits"]).max()


@pytest.mark.parametrize("model", ["glam", "aacnn", "glam_plus"])
def test_four_devices_take_the_step_of_one(recipe, model):
    """Loss, gradients (in Adam's moments) and BatchNorm statistics agree to 1e-5.

    Of the last two, dropout too is the same; the classes weigh differently.
    """
    recipe.model = model
    data = speech_like(32)
    pairs = mixed(np.random.default_rng(1).permutation(32))
    results = []
    for num_devices in (1, 4):
        train_step, state = build(recipe, data, num_devices)
        weights = window(class_weights=(1, 2, 3, 4))
        results.append(train_step(state, pairs, weights))
    one, four = results
    np.testing.assert_allclose(four.loss_sum, one.loss_sum, rtol=1e-5)
    assert_trees_close(four.batch_stats, one.batch_stats, 1e-5)
    # After the first step Adam's first moment is 0.1 times the gradient.
    assert_trees_close(four.opt_state, one.opt_state, 1e-5)


class Readings(nn.Module):
    """The first `count` of two linear readings; without a second, one alone."""

    count: int
    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1) / 100
        told = [nn.Dense(4, name=f"reading{k}")(x) for k in range(self.count)]
        return jnp.stack(told) if train and self.count > 1 else sum(told)


def test_each_reading_of_a_network_is_trained_as_if_it_were_alone(recipe, monkeypatch):
    """Its gradient is that of its own loss, and the loss is their mean."""
    data, pairs = speech_like(16), mixed(range(16))
    after = {}
    for count in (1, 2):
        network = Readings(count)
        monkeypatch.setattr(models, "create_model", lambda *a, n=network, **k: n)
        train_step, before = build(recipe, data, 1)
        after[count] = train_step(before, pairs, window())
    one = after[1].opt_state[1].mu["reading0"]["kernel"]
    two = after[2].opt_state[1].mu["reading0"]["kernel"]
    np.testing.assert_allclose(two, np.asarray(one) / 2, rtol=1e-4, atol=1e-7)


def test_a_step_in_bfloat16_keeps_its_state_in_float32(recipe):
    data, pairs = speech_like(16), mixed(range(16))
    train_step, before = build(recipe, data, 1)
    expected = train_step(before, pairs, window())
    recipe.dtype = "bfloat16"
    train_step, before = build(recipe, data, 1)
    after = train_step(before, pairs, window())
    for ours, theirs in zip(
        jax.tree.leaves(after), jax.tree.leaves(before), strict=True
    ):
        assert ours.dtype == theirs.dtype != jax.numpy.bfloat16
    np.testing.assert_allclose(after.loss_sum, expected.loss_sum, rtol=0.02)
    assert after.loss_sum != expected.loss_sum


@pytest.mark.parametrize("model", ["glam", "glam_plus"])
def test_one_step_changes_every_parameter(recipe, model):
    recipe.model, recipe.weight_decay = model, 0.0  # with L2 each would change
    data = speech_like(16)
    train_step, before = build(recipe, data, 1)
    after = train_step(before, mixed(range(16)), window())
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, after)
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        (changed.params, changed.batch_stats)
    ):
        assert leaf, path


def test_sixteen_segments_can_be_learned_by_heart(recipe):
    data = speech_like(16)
    train_steps, state = build(recipe, data, 1, steps.train_steps)
    pairs = mixed(np.tile(range(16), (40, 1)))
    state = train_steps(state, pairs, window(stop=40, mixing_weights=np.ones(40)))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = evaluated("glam", variables, data.features)
    np.testing.assert_array_equal(logits.argmax(axis=1), data.labels)


def test_a_loss_that_is_not_finite_ends_the_loop_at_its_step(recipe):
    recipe.model = TINY
    data = speech_like(12)
    data.features[8:] = np.nan
    train_steps, state = build(recipe, data, 1, steps.train_steps)
    pairs = mixed(np.arange(12).reshape(3, 4))
    state = train_steps(state, pairs, window(stop=3))
    assert state.step == 3
    state = train_steps(state, pairs, window(stop=3))
    assert state.step == 3
    assert np.isnan(state.loss_sum)


def test_evaluation_sums_the_logits_of_each_utterance(recipe):
    """Segments in no order, a batch filled up, over four devices."""
    data = speech_like(100)
    data = data.replace(utterance=(np.arange(100) % 30).astype(np.int32))
    recipe.model = TINY
    setup = steps.create_setup(recipe, 4, parallel.AXIS)
    model = models.create_model(TINY)
    variables = model.init(jax.random.key(0), data.features[:1], train=False)
    layout = parallel.Layout(tuple(jax.local_devices()[:4]), parallel.AXIS, 1)
    evaluate = layout.map(
        functools.partial(steps.evaluate, setup, 16, 30),
        shared=(False, True, False),
    )
    chosen = np.random.default_rng(0).permutation(100)[:70]
    segments = np.full(128, -1, np.int32)
    segments[:70] = chosen
    parts = [segments[device::4] for device in range(4)]
    sums = evaluate(layout.put_runs([variables]), layout.share(data), layout.put(parts))
    sums = layout.fetch(sums)[0]
    logits = evaluated(TINY, variables, data.features)
    expected = np.zeros((30, 4))
    for segment in chosen:
        expected[data.utterance[segment]] += logits[segment]
    np.testing.assert_allclose(sums, expected, atol=1e-5)


def rates(config, epochs, steps_per_epoch=10):
    """The learning rate at the beginning of some epochs."""
    return [
        float(steps.learning_rate(config, round(epoch * steps_per_epoch), 10))
        for epoch in epochs
    ]


def test_segments_of_sound_come_whole_out_of_their_tiles():
    sound, features = speech_like(5, shape=(1, 3000)), speech_like(5)
    assert features.tiled() is features
    tiles = sound.tiled()
    assert tiles.features.shape == (5, 24, 128)
    indices = jnp.array([[3, -1], [0, 3]])
    read = jax.jit(lambda data: data.segments(indices))
    np.testing.assert_array_equal(read(tiles), sound.features[indices])
    np.testing.assert_array_equal(read(sound), sound.features[indices])


def test_exp_falls_after_each_epoch(recipe):
    np.testing.assert_allclose(
        rates(recipe, [0, 0.9, 1, 2]), [1e-3, 1e-3, 0.95e-3, 0.9025e-3], rtol=1e-6
    )


def test_step_falls_after_so_many_epochs(recipe):
    recipe.update(schedule="step", learning_rate_decay=0.1, decay_epochs=10)
    np.testing.assert_allclose(
        rates(recipe, [0, 9.9, 10, 19, 20]), [1e-3, 1e-3, 1e-4, 1e-4, 1e-5], rtol=1e-6
    )


def test_cosine_ends_at_zero(recipe):
    recipe.update(schedule="cosine", num_epochs=4)
    np.testing.assert_allclose(
        rates(recipe, [0, 2, 4]), [1e-3, 0.5e-3, 0], rtol=1e-6, atol=1e-12
    )


def test_warmup_rises_linearly_before_the_cosine(recipe):
    recipe.update(schedule="cosine", num_epochs=6, warmup_epochs=2)
    np.testing.assert_allclose(
        rates(recipe, [0, 0.9, 1.9, 2, 4]),
        [0.05e-3, 0.5e-3, 1e-3, 1e-3, 0.5e-3],
        rtol=1e-6,
    )


def test_sgd_has_nesterov_momentum_and_l2_as_pytorch_defines_them(recipe):
    """Two steps by hand: velocity v = 0.9 v + g, change g + 0.9 v."""
    recipe.update(optimizer="sgd", weight_decay=0.5)
    optimizer = steps.create_optimizer(recipe)
    weight, velocity = 2.0, 0.0
    state = optimizer.init(weight)
    for gradient in (1.0, -3.0):
        change, state = optimizer.update(gradient, state, weight)
        decayed = gradient + 0.5 * weight
        velocity = 0.9 * velocity + decayed
        assert change == pytest.approx(decayed + 0.9 * velocity)
        weight -= 0.1 * float(change)


def test_another_shape_than_the_annotated_one_is_an_error_in_these_tests():
    logits, weights = jax.numpy.zeros((3, 2)), jax.numpy.ones(2)
    with pytest.raises(jaxtyping.TypeCheckError):
        steps.cross_entropy(logits, jax.numpy.array([0, 1]), weights, None)


def test_classes_weigh_as_asked():
    """As PyTorch's weighted cross entropy: the mean of the batch's own weights."""
    logits = np.log([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    labels = np.array([0, 1, 0])
    arrays = map(jax.numpy.array, (logits, labels, [1.0, 4.0]))
    loss = steps.cross_entropy(*arrays, None)
    expected = -(np.log(0.5) + 4 * np.log(0.75) + np.log(0.9)) / 6
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
