"""Waveform -> segments -> features, as pure functions of numpy arrays."""

import atexit
import functools
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data_prep import names

if TYPE_CHECKING:
    import scipy.sparse

SAMPLE_RATE = 16000
VERSION = 1  # raised when the values of a kind change
_SEGMENTS_AT_ONCE = 64  # with a short hop, a block has thousands of them
PadMode = Literal["reflect", "constant"]
SHORT = ("repeat", "silence")  # what fills up the segment of a short recording

# Of the kinds with centred frames, the ends padded: librosa's; models.frontend computes
# them too.
MFCC_N_FFT, MFCC_HOP = 2048, 512
MEL_N_FFT, MEL_HOP = 800, 400
N_MELS = 128
LOGMEL_N_FFT, LOGMEL_HOP, LOGMEL_N_MELS = 400, 160, 64  # 25 ms every 10 ms
N_MFCC = 26
MIN_MEL_POWER = 1e-10
TOP_DB = 80.0
# Of `mfcc_pitch`: voices repeat after the periods of 60 to 500 Hz; above 2 kHz they are
# less periodic, and the peaks of a frame too narrow for the rows.
N_PITCH = 13
_PITCH_HERTZ = (60.0, 500.0)
_PITCH_BAND = (50.0, 2000.0)
MIN_PITCH_POWER = 1e-10

# Of the kinds with frames from the first sample on: 40 ms every 10 ms.
_FRAME, _FRAME_HOP = 640, 160
_PREEMPHASIS = 0.97
_FILTERBANK_N_FFT = 1024
_FBANK_FILTERS, _FBANK_MAX_HERTZ = 26, SAMPLE_RATE / 2
_LOGFBANK_FILTERS, _LOGFBANK_MAX_HERTZ = 40, 4000.0
_SILENT_ENERGY = np.finfo(np.float64).eps
_SPECTROGRAM_N_FFT = 3198  # bins of 5 Hz
_SPECTROGRAM_BINS = 400  # up to 2 kHz
_MIN_POWER = 1e-30
_MU = 255


def segment(
    wave: np.ndarray, length: int, hop: int, short: str = "repeat"
) -> np.ndarray:
    """Cuts a waveform into overlapping segments (paper, section 4.1).

    A tail that does not fill a segment of its own is left out, as in the reference.

    Args:
      wave: (samples,) at 16 kHz.
      length: Samples in a segment.
      hop: Samples from one segment's start to the next one's.
      short: How a waveform shorter than a segment fills one: 'repeat', as in the
        reference, or 'silence', zeros after its end.

    Returns:
      (segments, length), at least one segment.

    Raises:
      ValueError: For an empty waveform, or a length or hop below one.
    """
    if length < 1 or hop < 1:
        raise ValueError(f"length and hop must be positive, not {length} and {hop}")
    if len(wave) == 0:
        raise ValueError("an empty waveform has no segments")
    if len(wave) < length and short == "silence":
        wave = np.pad(wave, (0, length - len(wave)))
    elif len(wave) < length:
        wave = np.resize(wave, length)
    windows = np.lib.stride_tricks.sliding_window_view(wave, length)
    return np.ascontiguousarray(windows[::hop])


class Segments:
    """`segment` of a waveform that comes by and by.

    Attributes:
      num_samples: How many samples came.
    """

    def __init__(self, length: int, hop: int, short: str = "repeat"):
        """Begins without samples.

        Args:
          length: Samples in a segment.
          hop: Samples from one segment's start to the next one's.
          short: See `segment`.
        """
        self._length, self._hop, self._short = length, hop, short
        self._rest = np.zeros(0, np.float32)
        self._skip = 0
        self.num_samples = 0

    def feed(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Takes the next samples.

        Args:
          block: (samples,) at 16 kHz.

        Returns:
          (segments, length) arrays of the segments that are complete now.
        """
        self.num_samples += len(block)
        rest = np.concatenate([self._rest, block[self._skip :]])
        found = count(len(rest), self._length, self._hop)
        self._skip = max(0, self._skip - len(block))
        self._skip += max(0, found * self._hop - len(rest))  # more than a block has
        self._rest = rest[found * self._hop :]
        return self._cut(rest, found)

    def _cut(self, wave: np.ndarray, found: int) -> Iterator[np.ndarray]:
        length, hop = self._length, self._hop
        for first in range(0, found, _SEGMENTS_AT_ONCE):
            last = min(first + _SEGMENTS_AT_ONCE, found) - 1
            yield segment(wave[first * hop : last * hop + length], length, hop)

    def end(self) -> Iterator[np.ndarray]:
        """Yields (1, length) where all that came is shorter than a segment."""
        if self.num_samples < self._length:
            yield segment(self._rest, self._length, self._hop, self._short)


def segments_of(
    blocks: Iterable[np.ndarray], length: int, hop: int
) -> Iterator[np.ndarray]:
    """`segment` of a waveform that comes in blocks.

    Args:
      blocks: (samples,) each, at 16 kHz.
      length: Samples in a segment.
      hop: Samples from one segment's start to the next one's.

    Yields:
      (segments, length), at least one segment.
    """
    segments = Segments(length, hop)
    for block in blocks:
        yield from segments.feed(block)
    yield from segments.end()


def count(num_samples: int, length: int, hop: int) -> int:
    """How many segments `segment` cuts a waveform into, 0 for one that is shorter."""
    return 0 if num_samples < length else (num_samples - length) // hop + 1


def extract(kind: str, segments: np.ndarray, pad_mode: str = "reflect") -> np.ndarray:
    """Computes the features of each segment by itself.

    Args:
      kind: A name in `KINDS`, or 'package.module:function' of one's own: it takes one
        segment, (samples,) float32, and returns (frequency, time).
      segments: (segments, samples) at 16 kHz, full scale one.
      pad_mode: How the ends of a segment are padded for 'mfcc', 'mfcc_pitch',
        'melspectrogram' and 'logmel', whose frames are centred: 'reflect' as in the
        paper, whose results predate librosa 0.9, or 'constant' as librosa does today.
        The other kinds ignore it: they frame like python_speech_features, from the
        first sample on, and fill up only the last frame, with zeros; 'waveform' is
        (1, samples).

    Returns:
      (segments, frequency, time) float32.

    Raises:
      ValueError: For an unknown kind or pad mode, or when features are not finite.
    """
    check_kind(kind)
    if pad_mode not in PAD_MODES:
        raise ValueError(
            f"unknown pad_mode {pad_mode!r}; there are {', '.join(PAD_MODES)}"
        )
    if ":" in kind:
        of_segment = functools.partial(_own, kind)
    elif kind in FUNCTIONALS:
        of_segment = functools.partial(_functionals, kind)
    elif kind in _CENTRED:
        of_segment = functools.partial(_CENTRED[kind], pad_mode=pad_mode)
    else:
        of_segment = _UNPADDED[kind]
    # One at a time: the temporaries of one segment stay in the processor's cache,
    # which is twice as fast as sixteen segments at once.
    images = np.stack(
        [of_segment(wave) for wave in segments.astype(np.float32, copy=False)],
        dtype=np.float32,
    )
    if not np.isfinite(images).all():
        raise ValueError(f"features {kind!r} gave values that are NaN or infinite")
    return images


def noise(segment: int) -> np.ndarray:
    """(1, samples) of the same noise always, to see what features make of a segment."""
    return np.random.default_rng(0).uniform(-0.1, 0.1, (1, segment))


def own_values(kind: str, segment: int, pad_mode: str) -> list[float]:
    """What features of one's own make of noise, to notice that they were edited.

    Args:
      kind: A kind of `extract`.
      segment: Samples in a segment.
      pad_mode: See `extract`.

    Returns:
      The mean, the deviation and some of the values; [] for features of this package,
      which have a version.
    """
    if ":" not in kind:
        return []
    x = extract(kind, noise(segment), pad_mode).astype(np.float64).ravel()
    some = x[np.linspace(0, x.size - 1, 6).astype(int)]
    return [float(value) for value in (x.mean(), x.std(), *some)]


def are_own_values(
    values: Sequence[float] | None, kind: str, segment: int, pad_mode: str
) -> bool:
    """Whether features of one's own still give what they gave.

    Args:
      values: What `own_values` gave, but for rounding; None where that is not known.
      kind: A kind of `extract`.
      segment: Samples in a segment.
      pad_mode: See `extract`.
    """
    now = np.array(own_values(kind, segment, pad_mode))
    if values is None or not now.size:
        return True
    return np.shape(values) == now.shape and np.allclose(
        values, now, rtol=0.01, atol=0.01 * now[1]
    )


def is_of_whole(kind: str) -> bool:
    """Whether features are of a whole utterance, however long, and not of segments."""
    return kind in FUNCTIONALS


def check_kind(kind: str) -> None:
    """Raises ValueError for features that are not known, or cannot be imported."""
    if ":" in kind:
        names.load(kind, "features")
    elif kind not in KINDS + FUNCTIONALS:
        known = ", ".join(KINDS + FUNCTIONALS)
        raise ValueError(
            f"unknown features {kind!r}; there are {known}, or "
            "package.module:function for features of your own"
        )


def _own(kind: str, wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (frequency, time), by a user's function."""
    image = np.asarray(names.load(kind, "features")(wave))
    if image.ndim != 2 or image.dtype.kind not in "fiu" or not image.size:
        raise ValueError(
            f"features {kind!r} gave {image.dtype} of shape {image.shape} for a "
            f"segment of {len(wave)} samples, instead of numbers of (frequency, time)"
        )
    return image


def _functionals(kind: str, wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (functionals, 1) of openSMILE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is too short is NaN, and refused
        return _smile(kind).process_signal(wave, SAMPLE_RATE).to_numpy().T


@functools.cache
def _smile(kind: str) -> Any:
    try:
        import opensmile  # an extra, whose import takes seconds
    except ImportError as error:
        raise ValueError(
            f"features {kind} are openSMILE's: pip install -e '.[floor]'"
        ) from error
    return opensmile.Smile(
        opensmile.FeatureSet[kind], opensmile.FeatureLevel.Functionals
    )


def _mfcc(wave: np.ndarray, pad_mode: PadMode) -> np.ndarray:
    """(samples,) -> (26, frames) MFCC, the values of `librosa.feature.mfcc`."""
    return _mfcc_of(_mfcc_power(wave, pad_mode))


def _mfcc_pitch(wave: np.ndarray, pad_mode: PadMode) -> np.ndarray:
    """(samples,) -> (39, frames): MFCC, and after them what they lack, the pitch.

    A row of pitch tells in percent how well a frame repeats after a period, the lowest
    pitch first. It is an autocorrelation that is taken from the magnitude instead of
    the power, which narrows its peaks (Tolonen & Karjalainen 2000).
    """
    power = _mfcc_power(wave, pad_mode)
    magnitude = np.sqrt(np.maximum(power, MIN_PITCH_POWER))
    *periodic, whole = pitch_filters(MFCC_N_FFT) @ magnitude.T
    return np.concatenate([_mfcc_of(power), 100 * np.stack(periodic) / whole])


def _mfcc_power(wave: np.ndarray, pad_mode: PadMode) -> np.ndarray:
    """(samples,) -> (frames, bins) power."""
    frames = _centred_frames(wave, MFCC_N_FFT, MFCC_HOP, pad_mode)
    window = hann_window(MFCC_N_FFT).astype(np.float32)
    return _power(frames * window, MFCC_N_FFT)


def _mfcc_of(power: np.ndarray) -> np.ndarray:
    """(frames, bins) -> (26, frames)."""
    import scipy.fft  # takes half a second

    decibel = 10.0 * _log_mel(power)
    # Against this segment's own maximum: one over many segments would differ by up
    # to 38.
    decibel = np.maximum(decibel, decibel.max() - TOP_DB)
    return scipy.fft.dct(decibel, axis=0, norm="ortho")[:N_MFCC]


def _melspectrogram(wave: np.ndarray, pad_mode: PadMode) -> np.ndarray:
    """(samples,) -> (128, frames) log10 of `librosa.feature.melspectrogram`."""
    return _log_mel(_rounded_power(wave, MEL_N_FFT, MEL_HOP, pad_mode))


def _logmel(wave: np.ndarray, pad_mode: PadMode) -> np.ndarray:
    """(samples,) -> (64, frames) log10 of `librosa.feature.melspectrogram`."""
    power = _rounded_power(wave, LOGMEL_N_FFT, LOGMEL_HOP, pad_mode)
    return _log_mel(power, LOGMEL_N_MELS)


def _rounded_power(
    wave: np.ndarray, n_fft: int, hop: int, pad_mode: PadMode
) -> np.ndarray:
    """(samples,) -> (frames, bins) squared magnitude, rounded where librosa rounds.

    In float32 throughout, logarithms near zero are 4e-4 off.
    """
    import scipy.fft  # takes half a second

    frames = _centred_frames(wave, n_fft, hop, pad_mode)
    spectrum = scipy.fft.rfft(frames * hann_window(n_fft)).astype(np.complex64)
    return np.abs(spectrum) ** 2


def _fbank(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (26, frames) energy in mel filters up to 8 kHz."""
    return _filter_energy(wave, _FBANK_FILTERS, _FBANK_MAX_HERTZ)


def _logfbank(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (40, frames) natural logarithm of the energy up to 4 kHz."""
    return np.log(_filter_energy(wave, _LOGFBANK_FILTERS, _LOGFBANK_MAX_HERTZ))


def _spectrogram(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (400, frames) decibel relative to the segment's loudest bin."""
    power = np.maximum(_frame_power(wave, _SPECTROGRAM_N_FFT), _MIN_POWER)
    decibel = 10.0 * np.log10(power[:, :_SPECTROGRAM_BINS].T)
    return decibel - 10.0 * np.log10(power.max())


def _interspeech2018(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (400, frames) mu-law of the magnitude scaled to [-1, 1].

    Source: P. Li et al., "An attention pooling based representation learning method
    for speech emotion recognition", Interspeech 2018.
    """
    power = _frame_power(wave, _SPECTROGRAM_N_FFT)
    magnitude = np.sqrt(power[:, :_SPECTROGRAM_BINS].T)
    peak = np.sqrt(power.max()) or 1.0  # zero in silence
    scaled = 2.0 * magnitude / peak - 1.0
    return np.sign(scaled) * np.log1p(_MU * np.abs(scaled)) / np.log1p(_MU)


def _waveform(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (1, samples), for a network with features of its own inside."""
    return wave[None]


def _centred_frames(
    wave: np.ndarray, n_fft: int, hop: int, pad_mode: PadMode
) -> np.ndarray:
    """(samples,) -> (frames, n_fft), the first frame's centre on the first sample."""
    padded = np.pad(wave, n_fft // 2, mode=pad_mode)
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]


def _log_mel(power: np.ndarray, num_mels: int = N_MELS) -> np.ndarray:
    """(frames, bins) -> (mels, frames) log10 of the power in Slaney's mel filters."""
    filters = slaney_filters(2 * (power.shape[1] - 1), num_mels)
    return np.log10(np.maximum(filters @ power.T, MIN_MEL_POWER))


def _filter_energy(wave: np.ndarray, num_filters: int, max_hertz: float) -> np.ndarray:
    """(samples,) -> (filters, frames) energy after pre-emphasis, nowhere zero."""
    emphasised = np.append(wave[:1], wave[1:] - _PREEMPHASIS * wave[:-1])
    power = _frame_power(emphasised, _FILTERBANK_N_FFT)
    energy = _triangular_filters(num_filters, max_hertz) @ power.T
    return np.where(energy == 0, _SILENT_ENERGY, energy)


def _frame_power(wave: np.ndarray, n_fft: int) -> np.ndarray:
    """(samples,) -> (frames, bins) power / n_fft, of frames without a window."""
    hops = -(-max(len(wave) - _FRAME, 0) // _FRAME_HOP)  # rounded up
    padded = np.pad(wave, (0, hops * _FRAME_HOP + _FRAME - len(wave)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_FRAME_HOP]
    # In float64, as the reference: in float32 the values of interspeech2018 near zero
    # are 2e-4 off.
    return _power(frames.astype(np.float64), n_fft) / n_fft


def _power(frames: np.ndarray, n_fft: int) -> np.ndarray:
    """(frames, samples) -> (frames, bins) squared magnitude."""
    import scipy.fft  # takes half a second

    spectrum = scipy.fft.rfft(frames, n_fft)
    return spectrum.real**2 + spectrum.imag**2


@functools.cache
def hann_window(n_fft: int) -> np.ndarray:
    """(n_fft,) periodic Hann window, the values of scipy.signal.get_window."""
    return 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n_fft + 1)[:-1])


# The filters are sparse, because a dense product goes through BLAS, which rounds
# differently with another number of threads: records would depend on the number of
# workers.


@functools.cache
def slaney_filters(n_fft: int, num_mels: int = N_MELS) -> "scipy.sparse.csr_array":
    """(mels, bins) filters of equal area on the Slaney mel scale.

    The values of `librosa.filters.mel`, whose import takes longer than a trained model
    needs to load and to answer.
    """
    import scipy.sparse  # takes half a second

    bins = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)
    corners = _slaney_hertz(np.linspace(0, _slaney_mel(SAMPLE_RATE / 2), num_mels + 2))
    widths = np.diff(corners)
    distances = np.subtract.outer(corners, bins)
    rising = -distances[:-2] / widths[:-1, None]
    falling = distances[2:] / widths[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2 / (corners[2:] - corners[:-2]))[:, None]
    return scipy.sparse.csr_array(filters)


@functools.cache
def pitch_filters(n_fft: int) -> "scipy.sparse.csr_array":
    """(13 + 1, bins): a cosine of each period, the longest first; and their band."""
    import scipy.sparse  # takes half a second

    bins = np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE)
    pitches = np.geomspace(*_PITCH_HERTZ, N_PITCH)
    band = (bins >= _PITCH_BAND[0]) & (bins <= _PITCH_BAND[1])
    cosines = np.cos(2 * np.pi * np.outer(1 / pitches, bins)) * band
    return scipy.sparse.csr_array(np.concatenate([cosines, band[None]]))


# Slaney's scale (Auditory Toolbox, 1998): linear up to 1 kHz, then logarithmic.
_LINEAR_HERTZ, _LINEAR_MELS = 1000.0, 15.0
_HERTZ_PER_MEL = 200 / 3
_LOG_STEP = np.log(6.4) / 27


def _slaney_mel(hertz: float) -> float:
    """Mel of a frequency of at least 1 kHz."""
    return _LINEAR_MELS + np.log(hertz / _LINEAR_HERTZ) / _LOG_STEP


def _slaney_hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(
        mels < _LINEAR_MELS,
        _HERTZ_PER_MEL * mels,
        _LINEAR_HERTZ * np.exp(_LOG_STEP * (mels - _LINEAR_MELS)),
    )


@functools.cache
def _triangular_filters(num_filters: int, max_hertz: float) -> "scipy.sparse.csr_array":
    """(filters, bins) filters of equal height on the HTK mel scale, from 0 Hz."""
    import scipy.sparse  # takes half a second

    hertz = _mel_frequencies(num_filters + 2, max_hertz)
    corners = np.floor((_FILTERBANK_N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(_FILTERBANK_N_FFT // 2 + 1)
    filters = [
        np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(num_filters)
    ]
    return scipy.sparse.csr_array(np.stack(filters))


def _mel_frequencies(how_many: int, highest: float) -> np.ndarray:
    """HTK's, by librosa, whose import takes seconds and few features need.

    librosa cannot be imported by a user without a home folder, as containers have,
    where the folder that it is installed in is not writable: numba, which compiles it,
    looks for a folder to keep the result in, and pooch for one to download examples to.
    """
    spec = importlib.util.find_spec("librosa")
    installed = os.path.dirname(spec.origin or "") if spec else ""
    if not os.access(installed, os.W_OK) and not os.access(_home(), os.W_OK):
        folder = tempfile.mkdtemp(prefix="librosa-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ.setdefault("NUMBA_CACHE_DIR", folder)
        if "XDG_CACHE_HOME" not in os.environ:
            os.environ["XDG_CACHE_HOME"] = folder  # read while it is imported
            try:
                import librosa.filters
            finally:
                del os.environ["XDG_CACHE_HOME"]
    import librosa

    return librosa.mel_frequencies(how_many, fmin=0, fmax=highest, htk=True)


def _home() -> str:
    """The user's folder, '' where there is none."""
    home = os.path.expanduser("~")
    return "" if home == "~" else home


_CENTRED = {
    "mfcc": _mfcc,
    "mfcc_pitch": _mfcc_pitch,
    "melspectrogram": _melspectrogram,
    "logmel": _logmel,
}
_UNPADDED = {
    "logfbank": _logfbank,
    "fbank": _fbank,
    "spectrogram": _spectrogram,
    "interspeech2018": _interspeech2018,
    "waveform": _waveform,
}
KINDS = (*_CENTRED, *_UNPADDED)
IN_JAX = (*_CENTRED, "waveform")  # those that models.frontend computes too
# Of whole utterances: openSMILE's sets, (functionals, 1). The extra `floor` has it.
FUNCTIONALS = ("ComParE_2016", "eGeMAPSv02")
PAD_MODES: tuple[PadMode, ...] = ("reflect", "constant")
