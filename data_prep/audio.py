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


class AudioError(ValueError):
    """A file that cannot be used; the message says why, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """A decoded recording and how it was stored.

    Attributes:
      wave: (samples,) float32, 16 kHz, mono.
      stored_rate: samples per second in the file.
      stored_channels: channels in the file.
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
      AudioError: when the file is missing, unreadable, empty or cut short, or has
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
    if len(samples) == 0:
        raise AudioError("holds no samples")
    if not np.isfinite(samples).all():
        raise AudioError("has samples that are NaN or infinite")
    if not samples.any():
        raise AudioError("is silent: every sample is zero")
    wave = samples.mean(axis=1)
    if rate != features.SAMPLE_RATE:
        wave = soxr.resample(wave, rate, features.SAMPLE_RATE)
        if len(wave) == 0:
            raise AudioError("holds too few samples to resample")
    return Audio(wave, rate, samples.shape[1])


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
