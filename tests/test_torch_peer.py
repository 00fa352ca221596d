"""The PyTorch peer computes what our model computes, in evaluation and in training."""

import jax
import numpy as np
import pytest
from helpers import build, mixed, speech_like, window

from configs import iemocap
from glam_jax import models, torch_weights

torch = pytest.importorskip("torch")

from glam_jax.benchmark import torch_peer  # noqa: E402

BATCH = 8
DATA = speech_like(2 * BATCH)
SHAPE = DATA.features.shape[1:]


@pytest.fixture
def recipe():
    config = iemocap.get_config()
    config.batch_size = BATCH
    config.weight_decay = 0.01  # as large as the gradients, so that it tells
    return config


@pytest.fixture
def peer(recipe):
    """A peer with random weights and random running statistics."""
    torch.manual_seed(0)
    model = torch_peer.GLAM(4, SHAPE)
    for name, statistics in model.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(statistics, 0.5, 2.0)
    return torch_peer.Peer(model, recipe.learning_rate, recipe.weight_decay)


def ours(peer):
    """The peer's variables in our layout."""
    tensors = peer.model.state_dict().items()
    arrays = {name: tensor.numpy().copy() for name, tensor in tensors}
    return torch_weights.from_state_dict("glam", arrays, SHAPE)


def gradients(peer):
    """The gradients of the peer's last step in our layout."""
    tensors = peer.model.state_dict(keep_vars=True).items()
    arrays = {
        name: (tensor if tensor.grad is None else tensor.grad).numpy()
        for name, tensor in tensors
    }
    return torch_weights.from_state_dict("glam", arrays, SHAPE)["params"]


def test_the_same_weights_give_the_same_logits(peer):
    logits = models.create_model("glam").apply(ours(peer), DATA.features, train=False)
    theirs = peer.predict(DATA.features, np.arange(2 * BATCH), batch_size=BATCH - 1)
    assert np.abs(logits - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_two_steps_of_training_agree(peer, recipe):
    train_step, state = build(recipe, DATA, num_devices=1)
    before = ours(peer)
    state = state.replace(**before)
    pairs = mixed(np.arange(2 * BATCH).reshape(2, BATCH))
    weights = np.array([0.7, 0.2], np.float32)
    labels = DATA.labels.astype(np.int64)

    def train_both(i):
        nonlocal state
        state = train_step(state, pairs[i], window(mixing_weights=weights))
        one = slice(i, i + 1)
        return peer.train(DATA.features, labels, pairs[one], weights[one])[0]

    first_loss = train_both(0)
    after = state
    np.testing.assert_allclose(after.loss_sum, first_loss, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        after.batch_stats,
        ours(peer)["batch_stats"],
    )
    # Adam divides a first gradient by its size: only those above rounding tell.
    compared = jax.tree.map(
        lambda gradient, old, a, b: np.abs(a - b)[
            np.abs(gradient + recipe.weight_decay * old) > 1e-5
        ],
        gradients(peer),
        before["params"],
        after.params,
        ours(peer)["params"],
    )
    differences = np.concatenate(jax.tree.leaves(compared))
    assert differences.max() < 1e-6  # a thousandth of the step
    assert len(differences) > 0.6 * sum(x.size for x in jax.tree.leaves(after.params))

    second_loss = train_both(1)
    np.testing.assert_allclose(state.loss_sum - after.loss_sum, second_loss, atol=1e-3)
