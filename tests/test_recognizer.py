"""A trained model as a thing: what it answers, and what it refuses."""

import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile
import soxr

import glam_jax
from data_prep import audio
from data_prep.text import read_csv
from glam_jax import results


@pytest.fixture(scope="module")
def model(finished):
    return glam_jax.load(finished.folder)


@pytest.fixture(scope="module")
def wave():
    """Three seconds of noise at 16 kHz."""
    return np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)


def predictions(finished, run):
    """What predictions.csv says of a run: probabilities by utterance."""
    _, rows = read_csv(finished.folder / "predictions.csv")
    return {row[0]: np.array(row[3:], float) for row in rows if row[1] == str(run)}


@pytest.mark.parametrize("run", [0, 1])
def test_a_recording_is_answered_as_in_the_training(finished, data_dir, run):
    model = glam_jax.load(finished.folder, run)
    sounds = {path.stem: path for path in (data_dir / "demo_corpus").rglob("*.wav")}
    told = predictions(finished, run)
    assert len(told) == 20
    for utterance, probabilities in told.items():
        wave, rate = soundfile.read(sounds[utterance])
        np.testing.assert_allclose(
            model.probabilities(wave, rate), probabilities, atol=1e-5
        )


def test_a_caller_that_computes_with_64_bits_gets_the_same_answer(
    finished, model, wave
):
    with jax.enable_x64(True):
        again = glam_jax.load(finished.folder)
        np.testing.assert_array_equal(
            again.probabilities(wave), model.probabilities(wave)
        )


def test_all_runs_answer_with_their_mean(finished, wave):
    each = [glam_jax.load(finished.folder, run).probabilities(wave) for run in (0, 1)]
    together = glam_jax.load(finished.folder, "all").probabilities(wave)
    np.testing.assert_allclose(together, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_nothing_is_compiled_for_recordings_of_other_lengths(model, wave):
    model.probabilities(wave)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "compile" in event else None
    )
    try:
        for samples in (100, 8000, 8001, 200_000):
            model.probabilities(np.resize(wave, samples))
            model.over_time(np.resize(wave, samples))
    finally:
        jax.monitoring.clear_event_listeners()
    assert not compiled


def test_over_time_gives_each_segments_seconds(model, wave):
    """Segments of half a second, one after the other; the tail is no segment."""
    times, probabilities = model.over_time(wave[: 16000 + 4000])
    np.testing.assert_allclose(times, [[0, 0.5], [0.5, 1]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-4
    alone = model.probabilities(wave[8000:16000])
    np.testing.assert_allclose(probabilities[1], alone, atol=1e-6)


def test_a_recording_shorter_than_a_segment_ends_where_it_ends(model, wave):
    times, probabilities = model.over_time(wave[:4000])
    np.testing.assert_allclose(times, [[0, 0.25]])
    repeated = model.probabilities(np.resize(wave[:4000], 8000))
    np.testing.assert_allclose(probabilities[0], repeated, atol=1e-6)


def test_another_rate_stereo_and_integers_are_converted(model, wave):
    expected = model.probabilities(wave)
    integers = np.round(wave * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    as_floats = model.probabilities(integers / 2**15)
    np.testing.assert_array_equal(model.probabilities(integers), as_floats)
    np.testing.assert_allclose(as_floats, expected, atol=0.02)
    stereo = np.stack([wave + 0.1, wave - 0.1], axis=1)
    np.testing.assert_allclose(model.probabilities(stereo), expected, atol=1e-3)
    at_8_kilohertz = soxr.resample(wave, 16000, 8000)
    prepared = np.concatenate([*audio.from_samples(at_8_kilohertz, 8000)])
    np.testing.assert_array_equal(
        model.probabilities(at_8_kilohertz, 8000), model.probabilities(prepared)
    )


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(16000), "is silent: every sample is zero"),
        (np.full(16000, np.nan), "has samples that are NaN or infinite"),
        (np.zeros(0), "holds no samples"),
        (np.zeros((2, 2, 2)), "must be numbers of shape"),
    ],
)
def test_what_is_no_sound_is_refused_as_in_preparation(model, samples, message):
    with pytest.raises(ValueError, match=message):
        model.probabilities(samples)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stream_tells_segments_as_they_come_and_ends_with_the_whole(model, rate):
    wave = np.random.default_rng(1).normal(0, 0.1, 2 * rate).astype(np.float32)
    stream = model.stream(rate)
    told = [stream.feed(wave[at : at + 1000]) for at in range(0, len(wave), 1000)]
    assert sum(map(len, told[: 20 * rate // 100_000])) == 0  # a segment has 0.5 s
    times, probabilities = model.over_time(wave, rate)
    answer = stream.end()
    np.testing.assert_allclose(answer.times, times)
    np.testing.assert_allclose(answer.over_time, probabilities, atol=1e-5)
    told = np.concatenate(told)
    np.testing.assert_allclose(told, probabilities[: len(told)], atol=1e-5)
    np.testing.assert_allclose(
        answer.probabilities, model.probabilities(wave, rate), atol=1e-5
    )
    assert answer.seconds == 2


def test_an_embedding_is_what_the_classifier_reads(model, wave):
    times, _ = model.over_time(wave)
    segments = [model.embed(wave[round(16000 * start) :][:8000]) for start, _ in times]
    np.testing.assert_allclose(model.embed(wave), np.mean(segments, axis=0), atol=1e-4)


def test_the_chosen_weights_and_model_json_are_enough(finished, model, wave, tmp_path):
    chosen = model.description["runs"][0]["weights"]
    shutil.copy(finished.folder / "model.json", tmp_path)
    shutil.copytree(finished.folder / chosen, tmp_path / chosen)
    moved = glam_jax.load(tmp_path)
    np.testing.assert_array_equal(moved.probabilities(wave), model.probabilities(wave))


def test_the_chosen_epoch_is_the_one_reported(finished, model):
    reported = [run["selected"]["epoch"] for run in finished.report["runs"]]
    assert [run["epoch"] for run in model.description["runs"]] == reported


def test_a_run_that_is_not_there_is_named(finished):
    with pytest.raises(ValueError, match=r"no finished run 7; finished are 0, 1"):
        glam_jax.load(finished.folder, 7)


def test_a_folder_without_a_model_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"no trained model .*glam_jax\.main"):
        glam_jax.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"an earlier version .*train again"):
        glam_jax.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99"),
        ({"runs": [{"run": 0, "weights": "../elsewhere"}]}, "are not there"),
        ({"runs": [{"run": 0, "weights": "nowhere"}]}, "are not there"),
    ],
)
def test_a_damaged_model_json_is_refused(model, tmp_path, change, message):
    text = results.json_text(model.description | change)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        glam_jax.load(tmp_path)
    (tmp_path / "model.json").write_text(text[:-10])
    with pytest.raises(ValueError, match="is damaged"):
        glam_jax.load(tmp_path)


def test_importing_the_package_takes_no_jax():
    script = (
        "import sys, glam_jax; print(glam_jax.__version__, 'jax' in sys.modules, "
        "'numpy' in sys.modules, glam_jax.load.__name__, 'jax' in sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert printed.split()[1:] == ["False", "False", "load", "True"]
