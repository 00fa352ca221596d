"""What a recipe does to segments before a network, and the weights it averages."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import linen as nn
from helpers import assert_trees_close, build, mixed, prepare, rows, shorten, window
from networks import TINY

import glam_jax
from configs import demo as demo_config
from data_prep import features, records
from data_prep.corpora import demo
from data_prep.text import read_csv
from glam_jax import figures, models, progress, results, runs, steps, train, values
from glam_jax import input_pipeline as pipeline
from glam_jax.models import frontend, inputs

VARIED = {
    "shift": True,
    "speed": 0.1,
    "gain": 6.0,
    "noise": 0.5,
    "warp": 0.1,
    "masks": 1,
}
SECOND = np.arange(16000) / 16000


@pytest.fixture(scope="module")
def waves_dir(data_dir, tmp_path_factory):
    """The small demo corpus as waveforms of half a second."""
    folder = tmp_path_factory.mktemp("waves")
    prepare(demo.read(data_dir / "demo_corpus"), "demo", folder, features="waveform")
    return folder


@pytest.fixture
def everything(waves_dir, without_figures):
    """A training with every ingredient."""
    return with_everything(waves_dir)


def with_everything(waves_dir):
    config = shorten(demo_config.get_config(), waves_dir)
    config.update(
        model=TINY,
        features="waveform",
        frontend="logmel",
        normalise="training",
        augment=VARIED,
        optimizer="adamw",
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=1,
        ema=0.9,
        label_smoothing=0.1,
    )
    return config


@pytest.fixture(scope="module")
def trained(waves_dir, tmp_path_factory):
    """The folder of such a training, and its report."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "write", lambda folder, trainings: None)
        report = train.train_and_evaluate(with_everything(waves_dir), str(folder))
    return folder, report


def varied(x, **augment):
    """A copy of each segment, varied by draws of its own."""
    network = models.create_model(TINY)
    done = inputs.Inputs(augment=inputs.Augment(**augment))
    model = inputs.before(network, done, None)
    keys = jax.random.split(jax.random.key(0), len(x))
    return np.asarray(model.features(jnp.asarray(x, jnp.float32), keys))


def test_nothing_is_before_the_network_of_a_published_recipe():
    network = models.create_model("glam")
    assert inputs.before(network, inputs.Inputs(pad_mode="constant"), None) is network


def test_a_trained_model_carries_what_was_done_to_its_segments(everything, trained):
    """`load` needs neither config nor data, and answers as the training did."""
    folder, report = trained
    assert report["recipe"]["augment.speed"] == 0.1
    model = glam_jax.load(folder)
    _, told = read_csv(folder / "predictions.csv")
    dataset = pipeline.load(everything)
    (run,) = runs.plan(everything, dataset)
    waves = dataset.features[run.train_segments]
    seen = frontend.extract("logmel", waves[:, 0])
    (weights,) = model.variables
    stats = weights["batch_stats"]
    np.testing.assert_allclose(
        stats[inputs.MEAN][:, 0], seen.mean(axis=(0, 2)), atol=1e-4
    )
    np.testing.assert_allclose(
        stats[inputs.DEVIATION][:, 0], seen.std(axis=(0, 2)), atol=1e-4
    )
    for utterance, _, _, *probabilities in told[:5]:
        place = np.flatnonzero(dataset.ids == utterance)
        segments = dataset.features[dataset.testing_segments(place)]
        logits, _ = model.from_features(segments, batch_size=8)
        mean = np.exp(logits[0].mean(axis=0))
        np.testing.assert_allclose(
            mean / mean.sum(), np.array(probabilities, float), atol=1e-5
        )


def test_a_training_that_was_stopped_ends_with_the_same_numbers(
    everything, trained, tmp_path, monkeypatch
):
    """With weights, their averages and the statistics of its segments."""
    whole, _ = trained
    show = progress.Progress.epoch

    def show_and_stop(self, group, rows):
        show(self, group, rows)
        if rows[0]["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "epoch", show_and_stop)
        with pytest.raises(train.Preempted):
            train.train_and_evaluate(everything, str(tmp_path))
    everything.input = "stream"
    train.train_and_evaluate(everything, str(tmp_path))
    assert rows(tmp_path) == rows(whole)
    ours = (tmp_path / "predictions.csv").read_bytes()
    assert ours == (whole / "predictions.csv").read_bytes()


def test_four_devices_vary_and_average_as_one(everything):
    random = np.random.default_rng(0)
    waves = random.normal(0, 0.1, (32, 1, 8000)).astype(np.float32)
    data = steps.Data(waves, np.arange(32), np.arange(32) % 4)
    pairs = mixed(random.permutation(32))
    one, four = (
        (lambda step, state: step(state, pairs, window()))(
            *build(everything, data, devices)
        )
        for devices in (1, 4)
    )
    np.testing.assert_allclose(four.loss_sum, one.loss_sum, rtol=1e-5)
    assert_trees_close(four.averages, one.averages, 1e-5)
    assert_trees_close(four.opt_state, one.opt_state, 1e-5)


def test_mixup_is_of_features_whoever_computes_them(data_dir):
    """A step on waveforms is that on their features, which records may hold."""
    random = np.random.default_rng(0)
    waves = random.normal(0, 0.1, (16, 1, 8000)).astype(np.float32)
    config = shorten(demo_config.get_config(), data_dir)
    config.update(model=TINY, features="waveform", frontend="mfcc")
    pairs, weights = mixed(random.permutation(16)), window(mixing_weights=(0.3,))
    owners = np.arange(16), np.arange(16) % 4
    step, state = build(config, steps.Data(waves, *owners), 1)
    ours = step(state, pairs, weights)
    config["frontend"] = ""
    images = features.extract("mfcc", waves[:, 0])
    step, state = build(config, steps.Data(images, *owners), 1)
    theirs = step(state, pairs, weights)
    np.testing.assert_allclose(ours.loss_sum, theirs.loss_sum, rtol=1e-5)
    assert_trees_close(ours.batch_stats, theirs.batch_stats, 1e-4)


def test_what_one_of_two_mixed_segments_lacks_is_that_of_the_heavier():
    long = jnp.arange(1.0, 13).reshape(1, 2, 6)
    short = jnp.where(jnp.arange(6) < 4, -long, 0)
    for weight, sounds in ((0.75, 6), (0.25, 4)):
        seen = np.asarray(inputs._mixed(long, short, weight))
        share = 2 * weight - 1
        np.testing.assert_allclose(seen[..., :4], share * long[..., :4])
        np.testing.assert_array_equal(seen[0, 0] != 0, np.arange(6) < sounds)
        np.testing.assert_array_equal(seen[..., 4:sounds], long[..., 4:sounds])


def test_averages_follow_the_weights_at_first_and_then_slowly(everything):
    state = steps.TrainState(
        step=jnp.int32(0),
        params={"w": jnp.zeros(())},
        batch_stats={},
        opt_state=(),
        averages={"params": {"w": jnp.zeros(())}, "batch_stats": {}},
        loss_sum=jnp.float32(0),
    )
    one = {"params": {"w": jnp.ones(())}, "batch_stats": {}}
    first = steps.averaged(everything, state, one)
    late = steps.averaged(everything, state.replace(step=jnp.int32(10_000)), one)
    assert first["params"]["w"] == pytest.approx(0.9)
    assert late["params"]["w"] == pytest.approx(0.1)


def test_a_smooth_label_costs_its_share_of_every_class():
    logits = jnp.asarray([[2.0, 0.0, -1.0]])
    label, weights = jnp.asarray([0]), jnp.ones(3)
    plain = [
        float(steps.cross_entropy(logits, jnp.asarray([k]), weights, None))
        for k in range(3)
    ]
    smooth = steps.cross_entropy(logits, label, weights, None, smoothing=0.3)
    assert float(smooth) == pytest.approx(
        0.7 * plain[0] + 0.3 * np.mean(plain), rel=1e-6
    )


def test_a_shift_only_turns_a_segment():
    wave = np.random.default_rng(0).normal(size=100)
    (turned,) = varied(wave[None, None], shift=True)[:, 0]
    place = int(np.flatnonzero(turned == np.float32(wave[0]))[0])
    assert place > 0
    np.testing.assert_array_equal(np.roll(turned, -place), wave.astype(np.float32))


@pytest.mark.usefixtures("platform")
def test_speed_moves_a_tone_by_so_many_percent():
    tone = np.tile(np.sin(2 * np.pi * 1000 * SECOND), (16, 1, 1))
    peaks = np.abs(np.fft.rfft(varied(tone, speed=0.1)[:, 0])).argmax(axis=1)
    assert 900 <= peaks.min() < 960 and 1040 < peaks.max() <= 1100


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("samples", [3, 500, 8000])
def test_speed_reads_between_two_samples_and_begins_anew_at_the_end(samples):
    random = np.random.default_rng(0)
    wave = random.normal(size=(1, samples)).astype(np.float32)
    around = np.append(wave, wave)
    for change in np.float32([-0.3, -0.1, 0, 0.07, 0.3]):
        place = (1 + change) * np.arange(samples, dtype=np.float32)
        wanted = np.interp(place, np.arange(2 * samples), around)
        played = inputs._at_speed(jnp.asarray(wave), change, 0.3, samples, False)
        np.testing.assert_allclose(played[0], wanted, atol=1e-5)


def test_gain_and_noise_are_of_the_level_that_was_asked_for():
    tone = np.tile(0.1 * np.sin(2 * np.pi * 1000 * SECOND), (32, 1, 1))
    louder = 20 * np.log10(varied(tone, gain=6.0).std(axis=2) / tone.std(axis=2))
    assert -6 <= louder.min() < -3 and 3 < louder.max() <= 6
    noise = varied(tone, noise=1.0) - tone
    ratio = 20 * np.log10(tone.std(axis=2) / noise.std(axis=2))
    assert 9.5 < ratio.min() < 20 and 30 < ratio.max() < 40.5
    clean = (varied(tone, noise=0.5) == tone.astype(np.float32)).all(axis=2)
    assert 6 < clean.sum() < 26


def test_a_warp_moves_a_band_and_masks_hide_bands_and_times():
    band = np.zeros((64, 20), np.float32)
    band[40] = 1
    places = [
        inputs._warped(band, key, 0.1)[:, 0].argmax()
        for key in jax.random.split(jax.random.key(0), 16)
    ]
    assert 36 <= min(places) < 39 and 41 < max(places) <= 45
    whole = jnp.ones((64, 100))
    hidden = inputs._masked(whole, jax.random.key(1), 2) == 0
    assert 0 < hidden.mean() < 0.6
    assert hidden.all(axis=1).any() and hidden.all(axis=0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frontend": "logmel"}, "frontend=logmel needs waveforms"),
        ({"augment": {"speed": 0.1}}, "augment.speed=0.1 needs waveforms"),
        ({"short": "silence"}, "short=silence needs waveforms"),
        ({"short": "zeros"}, "unknown config.short 'zeros'"),
        ({"augment": {"warp": 0.1}}, "stretches a mel axis"),
        ({"augment": {"masks": -1}}, "augment.masks must be from 0 to 100"),
        ({"ema": 1.0}, "ema must be from 0 to below 1"),
        ({"normalise": "corpus"}, "unknown config.normalise 'corpus'"),
        (
            {"normalise": "speaker", "features": "waveform", "frontend": "mfcc"},
            "--config.features=mfcc --config.frontend= instead of waveform",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_training(data_dir, changes, message):
    config = shorten(demo_config.get_config(), data_dir)
    config.update(changes)
    with pytest.raises(ValueError, match=message):
        values.check(config)


class Seen(nn.Module):
    """No network: it gives what it sees."""

    def __call__(self, x, train):
        return x


def silenced(wave, length, normalise="none"):
    """What a network sees of a waveform that silence fills up."""
    done = inputs.Inputs("mfcc_pitch", short="silence", normalise=normalise)
    segment = features.segment(wave, length, length, short="silence")[:, None]
    variables = {"batch_stats": {}}
    if normalise == "training":
        known = {inputs.MEAN: 5.0, inputs.DEVIATION: 2.0}
        variables["batch_stats"] = {k: jnp.full((39, 1), v) for k, v in known.items()}
    return np.asarray(
        inputs.before(Seen(), done, None).apply(variables, segment, False)
    )[0]


def test_of_silence_that_fills_up_there_are_no_features():
    """And those of the sound before it are the same however much silence follows."""
    wave = np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
    seen = silenced(wave, 16000)
    frames = (9000 - features.MFCC_N_FFT // 2) // features.MFCC_HOP + 1
    np.testing.assert_array_equal((seen != 0).any(axis=0).nonzero()[0], range(frames))
    longer = silenced(wave, 48000)
    np.testing.assert_allclose(longer[:, :frames], seen[:, :frames], atol=1e-3)
    alone = features.extract("mfcc_pitch", wave[None])[0]
    np.testing.assert_allclose(seen[:, 2:frames], alone[:, 2:frames], atol=1e-3)
    normal = silenced(wave, 16000, "training")
    np.testing.assert_allclose(
        normal[:, :frames], (seen[:, :frames] - 5) / 2, rtol=1e-5
    )
    assert not normal[:, frames:].any()
    assert (silenced(wave[:200], 16000) != 0).any(axis=0).sum() == 1


def test_records_of_short_recordings_end_in_silence_where_that_is_asked_for(
    data_dir, tmp_path
):
    """One preparation serves both; statistics do not count what is not there."""
    corpus = demo.read(data_dir / "demo_corpus")
    prepare(corpus, "demo", tmp_path, 80000, 80000, features="waveform")
    config = shorten(demo_config.get_config(), tmp_path)
    config.update(features="waveform", segment=80000, hop=80000, test_hop=80000)
    config.update(protocol="speaker", num_runs=0)  # which keeps what is short
    repeated = pipeline.load(config)
    config["short"] = "silence"
    dataset = pipeline.load(config)
    waves, before = dataset.features.read_all(), repeated.features.read_all()
    files = {file.stem: file for file in (data_dir / "demo_corpus").rglob("*.wav")}
    ends = [soundfile.info(files[utterance]).frames for utterance in dataset.ids]
    assert min(ends) < 80000
    for wave, repeat, end in zip(waves[:, 0], before[:, 0], ends, strict=True):
        assert not wave[end:].any()
        np.testing.assert_array_equal(wave[:end], repeat[:end])
        np.testing.assert_array_equal(repeat, np.resize(repeat[:end], 80000))
    moments = pipeline.Moments()
    frames = np.array([[[1.0, 3.0, 0.0], [0.0, 2.0, 0.0]]])
    moments.add(frames, has_silence=True)
    mean, deviation = moments.mean_and_deviation()
    np.testing.assert_allclose([*mean[:, 0], *deviation[:, 0]], [2, 1, 1, 1])


def test_sound_is_not_rounded_to_the_precision_of_the_network():
    wave = np.random.default_rng(0).normal(0, 0.1, (4, 1, 8000)).astype(np.float32)
    network = models.create_model(TINY)
    done = inputs.Inputs(frontend="mfcc", dtype="bfloat16")
    model = inputs.before(network, done, None)
    given = inputs.cast(model, wave, "bfloat16")
    variables = model.init(jax.random.key(0), given, train=False)
    seen = frontend.extract("mfcc", wave[:, 0]).astype("bfloat16")
    np.testing.assert_array_equal(
        model.apply(variables, given, train=False),
        network.apply(variables, seen, train=False),
    )
    exact = inputs.in_precision(model, "float32").apply(variables, wave, train=False)
    assert not np.array_equal(exact, model.apply(variables, given, train=False))


@pytest.mark.usefixtures("platform")
def test_silence_stays_where_it_is_when_a_segment_is_varied():
    wave = np.random.default_rng(0).normal(0, 0.1, (16, 1, 8000)).astype(np.float32)
    wave[:, :, 4000:] = 0
    done = inputs.Inputs(
        short="silence", augment=inputs.Augment(speed=0.1, noise=1.0, shift=True)
    )
    model = inputs.before(models.create_model(TINY), done, None)
    keys = jax.random.split(jax.random.key(0), len(wave))
    seen = np.asarray(model.features(jnp.asarray(wave), keys))[:, 0]
    ends = 8000 - (seen[:, ::-1] != 0).argmax(axis=1)
    assert 3600 <= ends.min() < 3800 and 4200 < ends.max() <= 4450
    assert (seen[:, :3600] != 0).all(axis=1).all()


def test_every_frontend_is_one_that_a_config_may_name():
    assert (*values.NAMES["frontend"][1:], "waveform") == frontend.KINDS
    assert set(frontend.KINDS) <= set(features.KINDS)


def test_the_sound_of_a_recording_is_what_is_heard(waves_dir, data_dir):
    """Segments of waveforms are the samples of the recordings themselves."""
    config = shorten(demo_config.get_config(), waves_dir)
    config["features"] = "waveform"
    dataset = pipeline.load(config)
    (path,) = (data_dir / "demo_corpus").rglob(f"{dataset.ids[0]}.wav")
    wave, _ = soundfile.read(path)
    first = dataset.features[dataset.testing_segments(np.array([0]))[:1]]
    np.testing.assert_allclose(first[0, 0], wave[:8000], atol=1e-4)


def test_a_constant_coefficient_is_not_divided_by_rounding():
    moments = pipeline.Moments()
    for constant in (0.1, 3.3):
        moments.add(np.full((7, 1, 57), np.float32(constant)))
        _, deviation = moments.mean_and_deviation()
        assert deviation == 1
        moments = pipeline.Moments()


def test_a_speaker_is_normalised_by_all_of_the_speakers_recordings(data_dir, tmp_path):
    """In both cuts, by the segments of training; each as if it were read alone."""
    corpus = demo.read(data_dir / "demo_corpus")
    for hop in (8000, 4000):
        prepare(corpus, "demo", tmp_path, hop=hop)
    config = shorten(demo_config.get_config(), tmp_path)
    config.test_hop = 4000
    plain = pipeline.load(config)
    config["normalise"] = "speaker"
    dataset = pipeline.load(config)
    speaker = dataset.groups.speaker[dataset.utterance]
    assert dataset.testing.start == dataset.training.stop
    x, seen = dataset.features.read_all(), plain.features.read_all()
    for name in np.unique(speaker):
        of_one = np.flatnonzero(speaker == name)
        used = of_one[of_one < dataset.training.stop]
        np.testing.assert_allclose(x[used].mean(axis=(0, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(x[used].std(axis=(0, 2)), 1, atol=1e-4)
        scale = seen[used].std(axis=(0, 2))[:, None]
        mean = seen[used].mean(axis=(0, 2))[:, None]
        np.testing.assert_allclose(x[of_one], (seen[of_one] - mean) / scale, atol=1e-3)
    some = np.array([5, 0, 11])
    np.testing.assert_array_equal(dataset.features[some], x[some])


def test_a_result_that_knew_the_tested_speakers_is_marked(
    data_dir, tmp_path, without_figures
):
    """In the report and in every table; and no recording alone is answered for."""
    config = shorten(demo_config.get_config(), data_dir)
    config.update(model=TINY, normalise="speaker")
    report = train.train_and_evaluate(config, str(tmp_path / "trained"))
    assert results.TRANSDUCTIVE in report["splits"]["warnings"]
    title, *_ = (tmp_path / "trained" / "report.md").read_text().splitlines()
    assert "(transductive) on demo" in title
    training = results.read(tmp_path / "trained", name="a row")
    assert training.name == "a row (transductive)"
    for same in results.told_apart([training, training]):
        assert same.name.count("(transductive)") == 1
    with pytest.raises(ValueError, match="speakers all of whose recordings are known"):
        glam_jax.load(tmp_path / "trained")


def test_speakers_must_be_known_to_be_normalised_by(data_dir, monkeypatch):
    config = shorten(demo_config.get_config(), data_dir)
    config["normalise"] = "speaker"
    read = records.read

    def nameless(*args):
        found, shape = read(*args)
        fields = [record.fields | {"speaker": b""} for record in found]
        return [
            dataclasses.replace(r, fields=f) for r, f in zip(found, fields, strict=True)
        ], shape

    monkeypatch.setattr(records, "read", nameless)
    with pytest.raises(ValueError, match="names no speaker of"):
        pipeline.load(config)
