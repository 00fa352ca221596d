"""Features in JAX: the values of data_prep.features, as a layer of a network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import soundfile
from helpers import DATA

from data_prep import features
from glam_jax.models import frontend


@pytest.fixture(scope="module")
def segments():
    """Two of speech, a click in digital silence, and silence."""
    wave, _ = soundfile.read(sorted((DATA / "emodb").rglob("*.wav"))[0])
    click = np.zeros(28800)
    click[20000:20100] = 0.5
    speech = features.segment(np.resize(wave, 35000), 28800, 3199)[:2]
    return np.stack([*speech, click, np.zeros(28800)]).astype(np.float32)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("pad_mode", features.PAD_MODES)
@pytest.mark.parametrize("kind", frontend.KINDS)
def test_the_values_are_those_of_preparation(segments, kind, pad_mode):
    ours = frontend.extract(kind, segments, pad_mode)
    theirs = features.extract(kind, segments, pad_mode)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("samples", [3, 700, 2048, 28801])
def test_segments_of_any_length_have_the_frames_of_preparation(segments, samples):
    waves = np.resize(segments[0], (2, samples))
    for kind in frontend.KINDS:
        ours = frontend.extract(kind, waves)
        theirs = features.extract(kind, waves)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


def test_a_segment_is_floored_by_its_own_maximum(segments):
    """80 dB below its own loudest band, not that of the batch."""
    batch = segments * np.array([[1], [1e-3], [1], [1]], np.float32)
    together = frontend.extract("mfcc", batch)
    np.testing.assert_allclose(
        together[1:2], frontend.extract("mfcc", batch[1:2]), atol=1e-3
    )


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mfcc", 20 / np.log(10) * np.sqrt(128) / 26),  # of the first coefficient alone
        ("melspectrogram", 2 / np.log(10)),
    ],
)
def test_gradients_are_those_of_a_louder_sound(kind, expected):
    """A factor on the sound adds the same decibels to all bands."""
    wave = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, 28800), jnp.float32)
    gradient = jax.grad(lambda wave: frontend.extract(kind, wave[None]).mean())
    np.testing.assert_allclose(jnp.vdot(gradient(wave), wave), expected, rtol=1e-3)
    assert np.isfinite(gradient(jnp.zeros(28800))).all()


def test_a_network_learns_from_waveforms():
    """Its first layer is the front end, after a filter that is learned too."""

    class FromWaves(nn.Module):
        @nn.compact
        def __call__(self, waves):  # (batch, samples)
            waves = nn.Conv(1, (5,))(waves[..., None])[..., 0]
            x = frontend.extract("mfcc", waves).mean(axis=2) / 100
            return nn.Dense(2)(x)

    random = np.random.default_rng(0)
    waves = random.normal(0, 0.1, (16, 4000)).astype(np.float32)
    waves[::2] = np.cumsum(waves[::2], axis=1) / 10  # dull
    labels = np.arange(16) % 2
    model, optimizer = FromWaves(), optax.adam(3e-2)
    params = model.init(jax.random.key(0), waves)
    first = params["params"]["Conv_0"]["kernel"]

    def loss_of(params):
        logits = model.apply(params, waves)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params, state):
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for _ in range(30):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    assert np.abs(params["params"]["Conv_0"]["kernel"] - first).max() > 1e-3


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="'logfbank' are not computed in JAX; mfcc"):
        frontend.extract("logfbank", np.zeros((1, 16000)))
    with pytest.raises(ValueError, match="unknown pad_mode 'zero'"):
        frontend.extract("mfcc", np.zeros((1, 16000)), "zero")
