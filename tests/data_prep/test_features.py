"""Segments and features: against the reference, against librosa, and at the edges."""

import os
import pathlib
import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile

from data_prep import features

DATA = pathlib.Path(__file__).parents[1] / "data"
IDS = ["03a01Fa", "09a05Wb", "10b03Tb"]
SEGMENT, HOP = 28800, 3199  # samples, the paper's
UNPADDED = ["logfbank", "fbank", "spectrogram", "interspeech2018"]


def speech_segments(name: str) -> np.ndarray:
    """(segments, 28800) of a recording of EmoDB."""
    wave, _ = soundfile.read(DATA / "emodb" / "wav" / f"{name}.wav", dtype="float32")
    return features.segment(wave, SEGMENT, HOP)


def librosa_mfcc(wave: np.ndarray, pad_mode: str) -> np.ndarray:
    """(26, frames) of one segment."""
    return librosa.feature.mfcc(y=wave, sr=16000, n_mfcc=26, pad_mode=pad_mode)


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "emodb_mfcc.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden_features():
    with np.load(DATA / "emodb_features.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", IDS)
def test_a_recording_has_as_many_segments_as_in_the_reference(golden, name):
    assert len(speech_segments(name)) == golden[f"{name}_num_segments"]


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("name", IDS)
def test_mfcc_are_those_of_the_reference(golden, name, pad_mode):
    mfcc = features.extract("mfcc", speech_segments(name)[:2], pad_mode)
    np.testing.assert_allclose(mfcc, golden[f"{name}_{pad_mode}"], rtol=0, atol=1e-3)


def test_the_pad_mode_of_the_paper_is_the_default():
    segments = speech_segments("03a01Fa")
    reflect = features.extract("mfcc", segments, "reflect")
    np.testing.assert_array_equal(features.extract("mfcc", segments), reflect)
    assert np.abs(features.extract("mfcc", segments, "constant") - reflect).max() > 1


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("length", [28800, 32000, 5001])
def test_mfcc_are_those_of_librosa_for_each_segment_alone(length, pad_mode):
    wave, _ = soundfile.read(DATA / "emodb" / "wav" / "10b03Tb.wav", dtype="float32")
    segments = features.segment(wave, length, 9000)
    segments[-1] = np.random.default_rng(0).normal(size=length)
    mfcc = features.extract("mfcc", segments, pad_mode)
    expected = np.stack([librosa_mfcc(segment, pad_mode) for segment in segments])
    assert len(mfcc) > 3
    np.testing.assert_allclose(mfcc, expected, rtol=0, atol=1e-3)


def test_a_quiet_segment_is_not_clipped_against_a_loud_one_beside_it():
    loud = np.random.default_rng(0).normal(size=SEGMENT).astype(np.float32)
    quiet = 1e-4 * speech_segments("09a05Wb")[0]
    both = np.stack([loud, quiet])
    mfcc = features.extract("mfcc", both)
    np.testing.assert_array_equal(mfcc[1:], features.extract("mfcc", both[1:]))
    # librosa clips a batch against one maximum: this pair would show it.
    clipped = librosa_mfcc(both, "reflect")
    assert np.abs(mfcc - clipped).max() > 10


def test_mfcc_are_float32_of_26_coefficients_by_57_frames():
    mfcc = features.extract("mfcc", speech_segments("09a05Wb").astype(np.float64))
    assert mfcc.shape == (9, 26, 57)
    assert mfcc.dtype == np.float32


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("name", IDS)
def test_melspectrograms_are_those_of_the_reference(golden_features, name, pad_mode):
    mel = features.extract("melspectrogram", speech_segments(name)[:1], pad_mode)
    expected = golden_features[f"{name}_melspectrogram_{pad_mode}"]
    np.testing.assert_allclose(mel, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ["logfbank", "fbank"] for name in IDS]
    # One recording is enough of the two large ones.
    + [("spectrogram", "10b03Tb"), ("interspeech2018", "10b03Tb")],
)
def test_unpadded_features_are_those_of_the_reference(golden_features, kind, name):
    actual = features.extract(kind, speech_segments(name)[:1])
    expected = golden_features[f"{name}_{kind}"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("length", [32000, 5001])
def test_melspectrograms_are_the_logarithm_of_those_of_librosa(length):
    wave = speech_segments("10b03Tb")[0]
    wave = np.resize(wave, length)
    mel = features.extract("melspectrogram", wave[None], "constant")[0]
    expected = librosa.feature.melspectrogram(
        y=wave, sr=16000, n_fft=800, hop_length=400
    )
    np.testing.assert_allclose(mel, np.log10(expected), rtol=1e-4, atol=1e-6)


def test_the_pad_mode_changes_the_first_and_last_melspectrogram_frames_alone():
    segments = speech_segments("03a01Fa")
    reflect = features.extract("melspectrogram", segments, "reflect")
    constant = features.extract("melspectrogram", segments, "constant")
    np.testing.assert_array_equal(reflect[..., 1:-1], constant[..., 1:-1])
    assert np.abs(reflect - constant).max() > 0.1


@pytest.mark.parametrize("kind", UNPADDED)
def test_the_pad_mode_does_not_matter_where_frames_are_not_centred(kind):
    segments = speech_segments("03a01Fa")
    reflect = features.extract(kind, segments, "reflect")
    np.testing.assert_array_equal(reflect, features.extract(kind, segments, "constant"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    # A tenth of the peak is -0.8 of [-1, 1] before the mu-law.
    [("spectrogram", -20), ("interspeech2018", -np.log(1 + 255 * 0.8) / np.log(256))],
)
def test_spectrograms_are_relative_to_the_peak_beyond_2_khz_too(kind, expected):
    seconds = np.arange(640) / 16000
    loud, quiet = (np.sin(2 * np.pi * hertz * seconds) for hertz in (3000, 500))
    bins = features.extract(kind, (loud + 0.1 * quiet)[None])[0, :, 0]
    # Bin 100 is at 500.3 Hz, where each tone leaks a little.
    np.testing.assert_allclose(bins[100], expected, rtol=5e-3)


@pytest.mark.parametrize("kind", ["spectrogram", "interspeech2018"])
@pytest.mark.parametrize(
    ("length", "filled", "frames"),
    [(3, 640, 1), (640, 640, 1), (641, 800, 2), (800, 800, 2), (5001, 5120, 29)],
)
def test_zeros_fill_up_the_last_frame(kind, length, filled, frames):
    wave = speech_segments("10b03Tb")[:1, 9000 : 9000 + length]
    zeros = np.zeros((1, filled - length))
    actual = features.extract(kind, wave)
    assert actual.shape == (1, 400, frames)
    expected = features.extract(kind, np.concatenate([wave, zeros], axis=1))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("kind", "frequencies", "frames", "frames_of_two_seconds"),
    [
        ("mfcc", 26, 57, 63),
        ("melspectrogram", 128, 73, 81),
        ("logfbank", 40, 177, 197),
        ("fbank", 26, 177, 197),
        ("spectrogram", 400, 177, 197),
        ("interspeech2018", 400, 177, 197),
    ],
)
def test_features_are_float32_of_frequency_by_time(
    kind, frequencies, frames, frames_of_two_seconds
):
    for length, times in [(SEGMENT, frames), (32000, frames_of_two_seconds)]:
        noise = np.random.default_rng(0).normal(size=(2, length))
        actual = features.extract(kind, noise)
        assert actual.shape == (2, frequencies, times)
        assert actual.dtype == np.float32


@pytest.mark.parametrize("kind", features.KINDS)
def test_a_segment_does_not_change_with_the_one_beside_it(kind):
    loud = np.random.default_rng(0).normal(size=SEGMENT)
    both = np.stack([loud, speech_segments("09a05Wb")[0]])
    np.testing.assert_array_equal(
        features.extract(kind, both)[1:], features.extract(kind, both[1:])
    )


@pytest.mark.parametrize("length", [SEGMENT, 3])
@pytest.mark.parametrize("kind", features.KINDS)
def test_features_of_silence_are_finite(kind, length):
    assert np.isfinite(features.extract(kind, np.zeros((1, length)))).all()


@pytest.mark.parametrize("kind", features.KINDS)
def test_features_of_speech_with_a_silent_stretch_are_finite(kind):
    wave = speech_segments("09a05Wb")[:1]
    wave[:, 9000:15000] = 0
    assert np.isfinite(features.extract(kind, wave)).all()


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (10, [0]),  # exactly one segment
        (12, [0]),  # the tail is dropped
        (13, [0, 3]),
        (21, [0, 3, 6, 9]),
        (22, [0, 3, 6, 9, 12]),
    ],
)
def test_segments_start_a_hop_apart_and_lie_within_the_waveform(samples, starts):
    segments = features.segment(np.arange(samples), 10, 3)
    np.testing.assert_array_equal(segments, [np.arange(s, s + 10) for s in starts])


def test_a_hop_longer_than_a_segment_skips_samples():
    segments = features.segment(np.arange(9), 2, 4)
    np.testing.assert_array_equal(segments, [[0, 1], [4, 5]])


def test_a_short_waveform_is_repeated_until_it_fills_one_segment():
    segments = features.segment(np.array([1, 2, 3]), 8, 1)
    np.testing.assert_array_equal(segments, [[1, 2, 3, 1, 2, 3, 1, 2]])


def test_a_short_waveform_ends_in_silence_where_that_is_asked_for():
    segments = features.segment(np.array([1, 2, 3]), 5, 1, short="silence")
    np.testing.assert_array_equal(segments, [[1, 2, 3, 0, 0]])
    longer = features.segment(np.arange(7), 5, 1, short="silence")
    np.testing.assert_array_equal(longer, features.segment(np.arange(7), 5, 1))
    blocks = features.Segments(5, 1, short="silence")
    assert [*blocks.feed(np.array([1, 2, 3]))] == []
    np.testing.assert_array_equal([*blocks.end()], [segments])


def test_segments_can_be_changed_without_changing_each_other_or_the_waveform():
    wave = np.arange(6)
    segments = features.segment(wave, 4, 1)
    segments[0] = -1
    np.testing.assert_array_equal(segments[1], [1, 2, 3, 4])
    np.testing.assert_array_equal(wave, np.arange(6))


def test_an_empty_waveform_is_refused():
    with pytest.raises(ValueError, match="empty"):
        features.segment(np.zeros(0), 10, 3)


@pytest.mark.parametrize(("length", "hop"), [(0, 3), (-1, 3), (10, 0), (10, -3)])
def test_lengths_and_hops_below_one_are_refused(length, hop):
    with pytest.raises(ValueError, match=f"{length} and {hop}"):
        features.segment(np.zeros(20), length, hop)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'mffc'.*mfcc, mfcc_pitch, mel"):
        features.extract("mffc", np.zeros((1, SEGMENT)))


def test_an_unknown_pad_mode_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'zero'.*reflect, constant"):
        features.extract("mfcc", np.zeros((1, SEGMENT)), "zero")


def test_a_user_without_home_name_and_writable_folders_can_have_every_kind(tmp_path):
    script = """
import os, pwd
import numpy as np
from data_prep import features
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
os.access = lambda path, mode: False
print(features.extract("logfbank", np.ones((1, 16000)), "reflect").shape)
assert not {"XDG_CACHE_HOME", "HOME"} & os.environ.keys()
assert os.path.isdir(os.environ["NUMBA_CACHE_DIR"])
"""
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=pathlib.Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (finished.stderr, finished.stdout) == ("", "(1, 40, 97)\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", [1, 700, 5000, 100_000])
@pytest.mark.parametrize(
    ("samples", "length", "hop"),
    [(9000, 2000, 500), (9000, 2000, 3001), (1999, 2000, 500), (2000, 2000, 9)],
)
def test_segments_of_blocks_are_those_of_the_whole(block, samples, length, hop):
    wave = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    blocks = (wave[at : at + block] for at in range(0, samples, block))
    found = [*features.segments_of(blocks, length, hop)]
    np.testing.assert_array_equal(
        np.concatenate(found), features.segment(wave, length, hop)
    )
    assert max(map(len, found)) <= 64


def test_features_that_are_not_finite_are_refused():
    loud = np.full((1, 16000), 1e30, np.float32)
    loud[:, ::2] = 0
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="features 'mfcc' gave values that are NaN"),
    ):
        features.extract("mfcc", loud)


def test_the_pitch_of_a_voice_is_in_the_row_of_its_period():
    """The strongest row is the one nearest to the pitch; noise has no strong one."""
    time = np.arange(SEGMENT) / 16000
    pitches = np.geomspace(60, 500, 13)
    noise = np.random.default_rng(0).normal(0, 0.1, SEGMENT)
    for row in (4, 7, 11):
        phase = 2 * np.pi * pitches[row] * time
        voice = 0.1 * sum(np.sin(k * phase) / k for k in range(1, 9))
        both = np.stack([voice, noise])
        x = features.extract("mfcc_pitch", both)
        assert (x[0, 26:, 2:-2].argmax(axis=0) == row).all()
        assert x[0, 26 + row, 2:-2].min() > 3 * x[1, 26:, 2:-2].max()
        np.testing.assert_array_equal(x[:, :26], features.extract("mfcc", both))
