"""Segments and MFCC: against the reference, against librosa, and at the edges."""

import pathlib

import librosa
import numpy as np
import pytest
import soundfile

from data_prep import features

DATA = pathlib.Path(__file__).parents[1] / "data"
IDS = ["03a01Fa", "09a05Wb", "10b03Tb"]
SEGMENT, HOP = 28800, 3199  # samples, the paper's


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


def test_mfcc_of_silence_are_finite():
    assert np.isfinite(features.extract("mfcc", np.zeros((1, SEGMENT)))).all()


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
    with pytest.raises(ValueError, match=r"'mffc'.*mfcc"):
        features.extract("mffc", np.zeros((1, SEGMENT)))


def test_an_unknown_pad_mode_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'zero'.*reflect, constant"):
        features.extract("mfcc", np.zeros((1, SEGMENT)), "zero")
