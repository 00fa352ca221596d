"""Waveform -> segments -> features, as pure functions of numpy arrays."""

import functools

import librosa
import numpy as np
import scipy.fft
import scipy.sparse

SAMPLE_RATE = 16000

_N_FFT = 2048
_HOP = 512
_N_MELS = 128
_N_MFCC = 26
_AMIN = 1e-10
_TOP_DB = 80.0


def segment(wave: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Cuts a waveform into overlapping segments (paper, section 4.1).

    A waveform shorter than one segment is repeated until it fills one. A tail that
    does not fill a segment of its own is left out, as in the reference.

    Args:
      wave: (samples,) at 16 kHz.
      length: samples in a segment.
      hop: samples from one segment's start to the next one's.

    Returns:
      (segments, length), at least one segment.

    Raises:
      ValueError: for an empty waveform, or a length or hop below one.
    """
    if length < 1 or hop < 1:
        raise ValueError(f"length and hop must be positive, not {length} and {hop}")
    if len(wave) == 0:
        raise ValueError("an empty waveform has no segments")
    if len(wave) < length:
        wave = np.resize(wave, length)
    windows = np.lib.stride_tricks.sliding_window_view(wave, length)
    return np.ascontiguousarray(windows[::hop])


def extract(kind: str, segments: np.ndarray, pad_mode: str = "reflect") -> np.ndarray:
    """Computes the features of each segment by itself.

    Args:
      kind: a name in `KINDS`.
      segments: (segments, samples) at 16 kHz.
      pad_mode: how the ends of a segment are padded before framing: 'reflect' as in
        the paper, whose results predate librosa 0.9, or 'constant' as librosa does
        today.

    Returns:
      (segments, frequency, time) float32.

    Raises:
      ValueError: for an unknown kind or pad mode.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown features {kind!r}; there are {', '.join(KINDS)}")
    if pad_mode not in PAD_MODES:
        raise ValueError(
            f"unknown pad_mode {pad_mode!r}; there are {', '.join(PAD_MODES)}"
        )
    of_segment = KINDS[kind]
    # One at a time: the temporaries of one segment stay in the processor's cache,
    # which is twice as fast as sixteen segments at once.
    return np.stack(
        [of_segment(wave, pad_mode) for wave in segments.astype(np.float32, copy=False)]
    )


def _mfcc(wave: np.ndarray, pad_mode: str) -> np.ndarray:
    """(samples,) -> (26, frames) MFCC, the values of `librosa.feature.mfcc`."""
    power = _power_spectrogram(wave, pad_mode)  # (frames, bins)
    mel = _mel_filters() @ power.T  # (mels, frames)
    decibel = 10.0 * np.log10(np.maximum(mel, _AMIN))
    # Against this segment's own maximum: one over many segments would differ by up
    # to 38.
    decibel = np.maximum(decibel, decibel.max() - _TOP_DB)
    return scipy.fft.dct(decibel, axis=0, norm="ortho")[:_N_MFCC]


def _power_spectrogram(wave: np.ndarray, pad_mode: str) -> np.ndarray:
    """(samples,) -> (frames, bins) power of centred Hann windows."""
    padded = np.pad(wave, _N_FFT // 2, mode=pad_mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    spectrum = scipy.fft.rfft(frames * _hann_window())
    return spectrum.real**2 + spectrum.imag**2


@functools.cache
def _hann_window() -> np.ndarray:
    return librosa.filters.get_window("hann", _N_FFT).astype(np.float32)


@functools.cache
def _mel_filters() -> scipy.sparse.csr_array:
    """(mels, bins) Slaney filters.

    Sparse, because a dense product goes through BLAS, which rounds differently with
    another number of threads: records would depend on the number of workers.
    """
    mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_N_FFT, n_mels=_N_MELS)
    return scipy.sparse.csr_array(mel)


KINDS = {"mfcc": _mfcc}
PAD_MODES = ("reflect", "constant")
