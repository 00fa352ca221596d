"""MFCC and log-mel in JAX: the values of `data_prep.features`, with gradients.

They are part of an exported model, and can be the first layer of a network that is
trained on waveforms. The Fourier transform is an FFT on CPUs and GPUs. Elsewhere it is
two matrix products: a TPU computes those fast, ONNX has them, and onnxruntime takes a
fourth of the time of its own DFT.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import lax

from data_prep import features

KINDS = features.IN_JAX
# Of a kind: samples of a frame, of the hop, and mels.
_MFCC = features.MFCC_N_FFT, features.MFCC_HOP, features.N_MELS
_FRAMES = {
    "mfcc": _MFCC,
    "mfcc_pitch": _MFCC,
    "melspectrogram": (features.MEL_N_FFT, features.MEL_HOP, features.N_MELS),
    "logmel": (features.LOGMEL_N_FFT, features.LOGMEL_HOP, features.LOGMEL_N_MELS),
}
_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def extract(
    kind: str, waves: jax.typing.ArrayLike, pad_mode: str = "reflect"
) -> jax.Array:
    """Computes the features of each segment by itself, as `features.extract` does.

    Args:
      kind: A name in `KINDS`.
      waves: (segments, samples) at 16 kHz, full scale one.
      pad_mode: 'reflect' or 'constant', see `features.extract`.

    Returns:
      (segments, frequency, time) float32, differentiable.

    Raises:
      ValueError: For another kind or pad mode.
    """
    if kind not in KINDS:
        raise ValueError(
            f"features {kind!r} are not computed in JAX; {', '.join(KINDS)} are"
        )
    if pad_mode not in features.PAD_MODES:
        raise ValueError(
            f"unknown pad_mode {pad_mode!r}; there are {', '.join(features.PAD_MODES)}"
        )
    waves = jnp.asarray(waves, jnp.float32)
    if kind == "waveform":
        return waves[:, None]
    by_fft = functools.partial(_features, kind, pad_mode, _FFT)
    by_products = functools.partial(_features, kind, pad_mode, _PRODUCTS)
    return lax.platform_dependent(waves, cpu=by_fft, cuda=by_fft, default=by_products)


def frames_within(kind: str, ends: jax.Array, frames: int) -> jax.Array:
    """Which frames lie within the sound of segments that silence fills up.

    Args:
      kind: A name in `KINDS`, but 'waveform'.
      ends: (segments,) int32, the samples before that silence.
      frames: Frames of a segment.

    Returns:
      (segments, frames) bool. The first frame always counts.
    """
    n_fft, hop, _ = _FRAMES[kind]
    frame = jnp.arange(frames)
    return (frame * hop + n_fft // 2 <= ends[:, None]) | (frame == 0)


class _Transform(NamedTuple):
    """A way from frames to their power.

    Attributes:
      power: (segments, samples), n_fft, hop and pad mode to (segments, frames, bins).
      bins: n_fft to the bins in their order; of those above the half the mirrored ones
        are meant.
    """

    power: Callable[[jax.Array, int, int, str], jax.Array]
    bins: Callable[[int], np.ndarray]


def _features(
    kind: str, pad_mode: str, transform: _Transform, waves: jax.Array
) -> jax.Array:
    """(segments, samples) -> (segments, frequency, time)."""
    n_fft, hop, num_mels = _FRAMES[kind]
    power = transform.power(waves, n_fft, hop, pad_mode)
    mel = _matmul(power, _filters(transform, features.slaney_filters, n_fft, num_mels))
    if kind == "mfcc":
        x = _mfcc(mel)
    elif kind == "mfcc_pitch":
        filters = _filters(transform, features.pitch_filters, n_fft)
        x = jnp.concatenate([_mfcc(mel), _pitch(power, filters)], axis=2)
    else:
        x = _log10(mel)
    return x.swapaxes(1, 2)


def _pitch(power: jax.Array, filters: np.ndarray) -> jax.Array:
    """(segments, frames, bins) -> (segments, frames, 13), see `features`."""
    magnitude = jnp.sqrt(jnp.maximum(power, features.MIN_PITCH_POWER))
    x = _matmul(magnitude, filters)
    return 100 * x[..., :-1] / x[..., -1:]


def _mfcc(mel: jax.Array) -> jax.Array:
    """(segments, frames, mels) power -> (segments, frames, 26)."""
    decibel = 10.0 * _log10(mel)
    lowest = decibel.max((1, 2), keepdims=True) - features.TOP_DB
    decibel = jnp.maximum(decibel, lowest)
    # Without its mean a frame loses ten times less in the product.
    mean = decibel.mean(2, keepdims=True)
    transform, of_ones = _cosine_transform()
    return _matmul(decibel - mean, transform) + mean * of_ones


def _log10(power: jax.Array) -> jax.Array:
    return jnp.log10(jnp.maximum(power, features.MIN_MEL_POWER))


def _power_by_fft(waves: jax.Array, n_fft: int, hop: int, pad_mode: str) -> jax.Array:
    """(segments, samples) -> (segments, frames, bins), bins from 0 to half of n_fft."""
    window = features.hann_window(n_fft).astype(np.float32)
    x = _frames(waves, n_fft, hop, pad_mode, columns=1)[:, :, 0] * window
    y = jnp.fft.rfft(x)
    return jnp.square(y.real) + jnp.square(y.imag)


def _power_by_products(
    waves: jax.Array, n_fft: int, hop: int, pad_mode: str
) -> jax.Array:
    """(segments, samples) -> (segments, frames, bins), bins as in `_Fourier`.

    The first step of Cooley and Tukey: a product over the rows of a frame, then one
    over its columns for each of the first digits of a bin.
    """
    fourier = _fourier(n_fft)
    columns, firsts = len(fourier.window), len(fourier.over_columns)
    x = _frames(waves, n_fft, hop, pad_mode, columns) * fourier.window
    segments, frames = x.shape[:2]
    x = _matmul(x, fourier.over_rows)  # (segments, frames, columns, 2 firsts)
    x = x.reshape(segments * frames, columns, 2, firsts).transpose(3, 0, 2, 1)
    x = x.reshape(firsts, segments * frames, 2 * columns)  # real, then imaginary parts
    x = jnp.square(_matmul(x, fourier.over_columns))
    power = x[..., :columns] + x[..., columns:]  # (firsts, segments * frames, lasts)
    return power.swapaxes(0, 1).reshape(segments, frames, firsts * columns)


def _frames(
    waves: jax.Array, n_fft: int, hop: int, pad_mode: str, columns: int
) -> jax.Array:
    """(segments, samples) -> (segments, frames, columns, rows) of centred frames.

    By blocks, of which a frame and the hop have a whole number: no sample is gathered
    by its index.
    """
    ends = ((0, 0), (n_fft // 2, n_fft // 2))
    waves = jnp.pad(waves, ends, mode=pad_mode)
    block = math.gcd(n_fft, hop)
    frames, blocks, step = (
        (waves.shape[1] - n_fft) // hop + 1,
        n_fft // block,
        hop // block,
    )
    waves = waves[:, : ((frames - 1) * step + blocks) * block]
    x = waves.reshape(waves.shape[0], -1, block // columns, columns).swapaxes(2, 3)
    last = (frames - 1) * step + 1
    return jnp.concatenate(
        [x[:, at : at + last : step] for at in range(blocks)], axis=3
    )


class _Fourier(NamedTuple):
    """The constants from a frame to its power.

    Sample n = columns * row + column of a frame, and bin k = first + rows * last.

    Attributes:
      window: (columns, rows), Hann's.
      over_rows: (rows, 2 firsts), to the real and imaginary parts.
      over_columns: (firsts, 2 columns, 2 lasts), from real and imaginary parts to such.
      bins: (firsts * lasts,), see `_Transform`.
    """

    window: np.ndarray
    over_rows: np.ndarray
    over_columns: np.ndarray
    bins: np.ndarray


@functools.cache
def _fourier(n_fft: int) -> _Fourier:
    """The constants, computed in float64 and kept in float32.

    A real frame's bin k is the conjugate of n_fft - k: `first` goes up to half the rows
    alone, and what is found twice has its filters once.
    """
    rows = 32 if n_fft % 32 == 0 else 25
    columns = n_fft // rows
    row, column = np.arange(rows), np.arange(columns)
    bins = np.arange(rows // 2 + 1)[:, None] + rows * column  # (firsts, lasts)
    over_rows = np.exp(-2j * np.pi / rows * np.outer(row, np.arange(rows // 2 + 1)))
    turns = column[:, None] * bins[:, None, :] % n_fft  # (firsts, columns, lasts)
    turned = np.exp(-2j * np.pi / n_fft * turns)
    over_columns = np.concatenate(
        [
            np.concatenate([turned.real, turned.imag], axis=2),
            np.concatenate([-turned.imag, turned.real], axis=2),
        ],
        axis=1,
    )
    constants = (
        features.hann_window(n_fft).reshape(rows, columns).T,
        np.concatenate([over_rows.real, over_rows.imag], axis=1),
        over_columns,
    )
    return _Fourier(*(a.astype(np.float32) for a in constants), bins=bins.ravel())


_FFT = _Transform(_power_by_fft, lambda n_fft: np.arange(n_fft // 2 + 1))
_PRODUCTS = _Transform(_power_by_products, lambda n_fft: _fourier(n_fft).bins)


@functools.cache
def _filters(
    transform: _Transform, make: Callable[..., Any], n_fft: int, *sizes: int
) -> np.ndarray:
    """(bins, filters) of what `make` gives as (filters, bins), in a power's order."""
    bins = transform.bins(n_fft)
    found, places = np.unique(np.minimum(bins, n_fft - bins), return_index=True)
    matrix = make(n_fft, *sizes).toarray()
    filters = np.zeros((bins.size, len(matrix)), np.float32)
    filters[places] = matrix.T[found]
    return filters


@functools.cache
def _cosine_transform() -> tuple[np.ndarray, np.ndarray]:
    """(mels, coefficients), orthonormal, of type two; and what it makes of ones."""
    matrix = scipy.fft.dct(np.eye(features.N_MELS), axis=0, norm="ortho")
    matrix = matrix[: features.N_MFCC].T
    return matrix.astype(np.float32), matrix.sum(axis=0).astype(np.float32)
