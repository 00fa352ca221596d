"""A wav file -> 16 kHz mono samples, or the reason why not."""

import dataclasses
import hashlib
import pathlib
import struct

import numpy as np
import soundfile
import soxr

from data_prep import features

_GIT_LFS = b"version https://git-lfs"
_HIGHEST_RATE = 1_000_000  # Hz
_MOST_CHANNELS = 64  # above which more channels than samples are a mistake


class AudioError(ValueError):
    """A file that cannot be used; the message says why, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """A decoded recording and how it was stored.

    Attributes:
      wave: (samples,) float32, 16 kHz, mono.
      stored_rate: Samples per second in the file.
      stored_channels: Channels in the file.
    """

    wave: np.ndarray
    stored_rate: int
    stored_channels: int

    def digest(self) -> str:
        """16 hex digits that are the same for the same samples."""
        return hashlib.sha256(self.wave.astype("<f4").tobytes()).hexdigest()[:16]


def read(path: pathlib.Path) -> Audio:
    """Reads a recording; another rate is resampled, several channels are averaged.

    Raises:
      AudioError: When the file is missing, unreadable, empty or cut short, or has
        samples that are not finite or all zero.
    """
    try:
        if not path.is_file():
            raise AudioError("no such file")
        if path.stat().st_size == 0:
            raise AudioError("the file is empty (0 bytes)")
        _check_whole(path)
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot be decoded ({error.error_string})") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror})") from error
    return from_samples(samples, rate)


def from_samples(samples: np.ndarray, rate: int) -> Audio:
    """Makes 16 kHz mono of samples; several channels are averaged.

    Args:
      samples: (samples,) or (samples, channels), floating with full scale one, or
        integers with the full scale of their type.
      rate: Samples per second.

    Raises:
      AudioError: When there are none, or they are not finite or all zero, as they come
        or after the conversion.
      ValueError: When the array or the rate is none of a recording.
    """
    samples = np.asarray(samples)
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.dtype.kind not in "fiu":
        raise ValueError(
            "samples must be numbers of shape (samples,) or (samples, channels), not "
            f"{samples.dtype} of shape {samples.shape}"
        )
    if not 1 <= rate <= _HIGHEST_RATE:
        raise ValueError(f"a rate of {rate} Hz is none of a recording")
    channels = samples.shape[1]
    if samples.size == 0:
        raise AudioError("holds no samples")
    if channels > len(samples) and channels > _MOST_CHANNELS:
        raise ValueError(
            f"{channels} channels of {len(samples)} samples: samples must be of shape "
            "(samples, channels); transpose them"
        )
    if samples.dtype.kind in "iu":
        samples = _from_integers(samples)
    wave = _checked(samples).astype(np.float32, copy=False).mean(axis=1)
    if rate != features.SAMPLE_RATE:
        wave = soxr.resample(wave, rate, features.SAMPLE_RATE)
        if len(wave) == 0:
            raise AudioError("holds too few samples to resample")
    return Audio(_checked(wave), rate, channels)


def _from_integers(samples: np.ndarray) -> np.ndarray:
    limits = np.iinfo(samples.dtype)
    middle = 0 if limits.min < 0 else limits.max // 2 + 1
    return (samples - np.float64(middle)) / (limits.max - middle + 1)


def _checked(samples: np.ndarray) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise AudioError("has samples that are NaN or infinite")
    if not samples.any():
        raise AudioError("is silent: every sample is zero")
    return samples


def _check_whole(path: pathlib.Path) -> None:
    """Raises AudioError when a RIFF file ends before its data chunk does.

    libsndfile reads what is there and says nothing. A file that only tells where
    the sound is, as in a clone of CREMA-D without Git LFS, is refused too.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_GIT_LFS))
        if head == _GIT_LFS:
            raise AudioError("is a pointer of Git LFS, not the sound (git lfs pull)")
        if not head.startswith(b"RIFF"):
            return
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                missing = file.tell() + length - size
                # A writer that could not seek back leaves the largest number here.
                if missing > 0 and length < 0xFFFFFF00:
                    raise AudioError(
                        f"is cut short: {missing} of {length} bytes of sound missing"
                    )
                return
            file.seek(length + length % 2, 1)
    raise AudioError("is cut short: it ends before any sound")
