"""A sound file -> 16 kHz mono samples, or the reason why not."""

import contextlib
import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soundfile
import soxr

from data_prep import containers, features

# libsndfile's names of the containers that tell how long they are.
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "HTK")
CONTAINERS += ("FLAC", "OGG", "MP3")
_BLOCK = 1 << 16  # frames that are decoded at once
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 400_000  # Hz
_MOST_CHANNELS = 64
_MOST_HOURS = 24
_HIGHEST_PEAK = 2.0**32  # above the integers of any file; features overflow at 1e16
_SILENT_SPAN = 1e-4  # lowest to highest sample: three steps of 16 bits
_WARM_UP = 20 * 1152  # frames that a decoder may need before it gives what was coded
_ROUNDED = 0.05  # seconds that a part may end behind its file: times are rounded

# What is suspicious, and usable.
_QUIET_SPAN = 2e-3  # -60 dB
_FLOAT_PEAK = 2.0  # times full scale; resampling and codecs stay below
_CLIPPED_SHARE = 1e-3  # of the samples at full scale
_FULL_SCALE = 0.9999
_OFFSET = 0.05
_LOST_SHARE = 1e-3  # of the power
_TREBLE = 4000  # Hz; telephones carry nothing above
_FRAME = 1024  # samples of a spectrum
_LEAST = 1e-12  # power, -120 dB


class AudioError(ValueError):
    """A file that cannot be used; the message says why, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """A decoded recording and how it was stored.

    Attributes:
      wave: (samples,) float32, 16 kHz, mono.
      stored_rate: Samples per second in the file.
      stored_channels: Channels in the file.
      warnings: What is suspicious about it.
    """

    wave: np.ndarray
    stored_rate: int
    stored_channels: int
    warnings: tuple[str, ...] = ()

    def digest(self) -> str:
        """16 hex digits that are the same for the same samples."""
        return hashlib.sha256(self.wave.astype("<f4").tobytes()).hexdigest()[:16]


class Stream:
    """A recording as blocks of 16 kHz mono, however long it is.

    It is iterated over where the samples are at hand, and fed where they come by and
    by. The other attributes count once it has ended, which is also when the recording
    is found to be usable.

    Attributes:
      stored_rate: Samples per second in the file.
      stored_channels: Channels in the file.
      num_samples: Samples at 16 kHz.
      content: 16 hex digits that are the same for the same samples.
      warnings: What is suspicious about the recording.
      level: The mean power, in dB of full scale.
      treble: The power above 4 kHz, in dB of the whole power.
    """

    def __init__(
        self,
        rate: int,
        channels: int,
        stored: Iterable[np.ndarray] = (),
        warnings: Sequence[str] = (),
    ):
        """Checks what a header says, before anything is decoded.

        Args:
          rate: Samples per second.
          channels: Channels of each block.
          stored: Blocks of (samples, channels), floating with full scale one.
          warnings: What is suspicious already.

        Raises:
          AudioError: When rate or channels are none of a recording.
        """
        if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
            raise AudioError(
                f"a rate of {rate} Hz is none of a recording "
                f"({_LOWEST_RATE} to {_HIGHEST_RATE})"
            )
        if channels > _MOST_CHANNELS:
            raise AudioError(
                f"{channels} channels are none of a recording (1 to {_MOST_CHANNELS})"
            )
        self._stored = stored
        self._resampler = None
        if rate != features.SAMPLE_RATE:  # gives the bits of `soxr.resample`
            self._resampler = soxr.ResampleStream(
                rate, features.SAMPLE_RATE, 1, dtype="float32"
            )
        self._channel_power = 0.0
        self._stored_level, self._level = _Level(), _Level()
        self._sha256 = hashlib.sha256()
        self._bands = np.zeros(2)  # power below and above `_TREBLE`
        self.level = self.treble = math.nan
        self.stored_rate, self.stored_channels = rate, channels
        self.num_samples = 0
        self.content = ""
        self.warnings = tuple(warnings)

    def __iter__(self) -> Iterator[np.ndarray]:
        """(samples,) float32 blocks at 16 kHz, of the samples at hand.

        Raises:
          AudioError: See `feed` and `end`; or when samples are missing.
        """
        for block in self._stored:
            yield self.feed(block)
        yield self.end()

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Converts the next samples.

        Args:
          block: (samples, channels), floating with full scale one.

        Returns:
          (samples,) float32 at 16 kHz; there may be none yet.

        Raises:
          AudioError: When the samples are not finite or too loud.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            block = block.astype(np.float32, copy=False)
            mixed = block.mean(axis=1)
        self._stored_level.add(mixed)
        if self.stored_channels > 1:
            self._channel_power += _power(block) / self.stored_channels
        if self._resampler:
            mixed = self._resampler.resample_chunk(mixed)
        return self._taken(mixed)

    def end(self) -> np.ndarray:
        """Ends the recording, and checks it as a whole.

        Returns:
          (samples,) float32 at 16 kHz, the last ones.

        Raises:
          AudioError: When it is empty, silent or constant.
        """
        rest = np.zeros(0, np.float32)
        if self._resampler and self._stored_level.count:
            rest = self._taken(self._resampler.resample_chunk(rest, last=True))
        self.num_samples = self._level.count
        self.content = self._sha256.hexdigest()[:16]
        self._check()
        self.level = _decibel(self._level.power / self._level.count)
        self.treble = _decibel(self._bands[1] / max(self._bands.sum(), _LEAST))
        return rest

    def _taken(self, block: np.ndarray) -> np.ndarray:
        self._level.add(block)
        self._sha256.update(block.astype("<f4").tobytes())
        frames = block[: len(block) // _FRAME * _FRAME].reshape(-1, _FRAME)
        spectrum = np.fft.rfft(frames * np.hanning(_FRAME))
        power = np.square(np.abs(spectrum)).sum(axis=0)
        first = _TREBLE * _FRAME // features.SAMPLE_RATE
        self._bands += power[:first].sum(), power[first:].sum()
        return block

    def _check(self) -> None:
        if self._stored_level.count == 0:
            raise AudioError("holds no samples")
        if self._level.count == 0:
            raise AudioError("holds too few samples to resample")
        averaged = (
            f" once its {self.stored_channels} channels are averaged"
            if self.stored_channels > 1
            else ""
        )
        for level in (self._stored_level, self._level):
            if level.lowest == level.highest == 0:
                raise AudioError(f"is silent: every sample is zero{averaged}")
            if level.span < _SILENT_SPAN:
                middle = (level.lowest + level.highest) / 2
                what = "silent" if abs(middle) < _SILENT_SPAN else "constant"
                raise AudioError(
                    f"is {what}: every sample is {middle:.2g} to within "
                    f"{_SILENT_SPAN:g}{averaged}"
                )
        self.warnings += tuple(self._suspicious())

    def _suspicious(self) -> Iterator[str]:
        level = self._stored_level
        if level.power < _LOST_SHARE * self._channel_power:
            yield (
                f"loses nearly all when its {self.stored_channels} channels are "
                "averaged: they are of opposite sign"
            )
        if self._level.power / self._level.count < _LOST_SHARE * (
            level.power / level.count
        ):
            yield f"loses nearly all, which is above {features.SAMPLE_RATE // 2} Hz"
        if self.stored_rate < features.SAMPLE_RATE:
            yield (
                f"is stored at {self.stored_rate} Hz, so that all above "
                f"{self.stored_rate // 2} Hz is missing"
            )
        if level.peak > _FLOAT_PEAK:
            yield (
                f"peaks at {level.peak:.6g} times full scale: integers stored as "
                "floats? Divide them by their full scale"
            )
        elif level.clipped > _CLIPPED_SHARE * level.count:
            yield f"is clipped: {level.clipped / level.count:.1%} is at full scale"
        if self._level.span < _QUIET_SPAN:
            decibel = 20 * math.log10(self._level.span / 2)
            yield f"is very quiet: its peak is {decibel:.0f} dB of full scale"
        if abs(offset := level.total / level.count) > max(_OFFSET, 0.1 * level.span):
            yield f"has a constant offset of {offset:.2g}"


class _File(soundfile.SoundFile):
    """A file whose blocks are what one read of the whole gives.

    soundfile seeks to where it is after each read. libsndfile's MP3 decoder then
    forgets what came before, and gives some 4,000 samples other than those of one read.
    """

    def seekable(self) -> bool:
        """Whether soundfile may seek of its own accord."""
        return self.format != "MP3" and super().seekable()


class _Level:
    """The extremes of the samples so far."""

    def __init__(self):
        self.lowest, self.highest = math.inf, -math.inf
        self.count = self.clipped = 0
        self.total = self.power = 0.0

    def add(self, block: np.ndarray) -> None:
        if len(block) == 0:
            return
        lowest, highest = float(block.min()), float(block.max())  # NaN if one is
        if not math.isfinite(lowest) or not math.isfinite(highest):
            raise AudioError("has samples that are NaN or infinite")
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        if self.peak > _HIGHEST_PEAK:
            raise AudioError(f"peaks at {self.peak:.2g} times full scale")
        self.count += len(block)
        self.total += float(block.sum(dtype=np.float64))
        self.power += _power(block)
        self.clipped += int((np.abs(block) >= _FULL_SCALE).sum())

    @property
    def peak(self) -> float:
        return max(-self.lowest, self.highest)

    @property
    def span(self) -> float:
        return self.highest - self.lowest


def read(path: pathlib.Path) -> Audio:
    """Reads a recording; another rate is resampled, several channels are averaged.

    Raises:
      AudioError: When the recording cannot be used, see `Stream`.
    """
    opened = stream(path)
    wave = np.concatenate([*opened])
    return Audio(wave, opened.stored_rate, opened.stored_channels, opened.warnings)


def stream(path: pathlib.Path, start: float = 0.0, end: float | None = None) -> Stream:
    """Opens a recording, or a part of one, to take it block by block.

    Of a part nothing before it or behind it is read.

    Args:
      path: The file.
      start: Where the part begins, in seconds.
      end: Where it ends, in seconds; None for the end of the file.

    Raises:
      AudioError: When the file is missing, unreadable, empty or cut short, its header
        says what no recording has, or the part is not in it. The rest is found out
        while it is taken.
    """
    with _reasons():
        if not path.is_file():
            raise AudioError("no such file")
        if path.stat().st_size == 0:
            raise AudioError("the file is empty (0 bytes)")
        opened = containers.check_whole(path)
        file = _File(opened.file)
    if file.format not in CONTAINERS:
        raise AudioError(
            f"is of format {file.format}, which does not tell whether it is whole: "
            "convert it to WAV or FLAC"
        )
    hours = file.frames / max(file.samplerate, 1) / 3600
    if hours > _MOST_HOURS and file.samplerate >= _LOWEST_RATE:
        raise AudioError(
            f"announces {hours:,.0f} hours of sound; {_MOST_HOURS} are the most"
        )
    warnings = [opened.odd] if opened.odd else []
    first, count = _frames(file, start, end)
    md5 = opened.md5 if count is None else b""  # that of the whole
    blocks = _decoded(file, first, count, md5, opened.sample_bytes)
    return Stream(file.samplerate, file.channels, blocks, warnings)


def from_samples(samples: np.ndarray, rate: int) -> Stream:
    """Opens samples as a recording, to take it block by block.

    Args:
      samples: (samples,) or (samples, channels), floating with full scale one, or
        integers with the full scale of their type.
      rate: Samples per second.

    Raises:
      AudioError: When rate or channels are none of a recording. The rest is found out
        while it is taken.
      ValueError: When the array is none of a recording.
    """
    samples = with_channels(samples)
    blocks = (
        as_floats(samples[start : start + _BLOCK])
        for start in range(0, len(samples), _BLOCK)
    )
    return Stream(rate, samples.shape[1], blocks)


def with_channels(samples: np.ndarray) -> np.ndarray:
    """Samples as an array of (samples, channels).

    Raises:
      ValueError: When they are none of a recording.
    """
    samples = np.asarray(samples)
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.dtype.kind not in "fiu":
        raise ValueError(
            "samples must be numbers of shape (samples,) or (samples, channels), not "
            f"{samples.dtype} of shape {samples.shape}"
        )
    channels = samples.shape[1]
    if channels > len(samples) > 0 and channels > _MOST_CHANNELS:
        raise ValueError(
            f"{channels} channels of {len(samples)} samples: samples must be of shape "
            "(samples, channels); transpose them"
        )
    return samples


def as_floats(samples: np.ndarray) -> np.ndarray:
    """Samples with full scale one, of floats or of integers."""
    if samples.dtype.kind == "f":
        return samples
    limits = np.iinfo(samples.dtype)
    middle = 0 if limits.min < 0 else limits.max // 2 + 1
    return (samples - np.float64(middle)) / (limits.max - middle + 1)


def _frames(
    file: soundfile.SoundFile, start: float, end: float | None
) -> tuple[int, int | None]:
    """Where a part begins, and how many frames it has; None for all that follow."""
    rate = max(file.samplerate, 1)
    if (start, end) == (0, None):
        return 0, None
    seconds = file.frames / rate
    if start >= seconds or (end or 0) > seconds + _ROUNDED:
        what = f"begins at {start:g}" if start >= seconds else f"ends at {end:g}"
        raise AudioError(f"{what} s, and the file has {seconds:.3f} s")
    first = round(start * rate)
    last = file.frames if end is None else min(round(end * rate), file.frames)
    return first, last - first


def _decoded(
    file: soundfile.SoundFile,
    first: int,
    count: int | None,
    md5: bytes,
    sample_bytes: int,
) -> Iterator[np.ndarray]:
    """(frames, channels) float32 blocks of a file, which is closed at their end.

    Args:
      file: The file.
      first: The frame to begin with.
      count: Frames to read; None for all, which is also found to be too few.
      md5: That of its samples as integers, b"" where it is not known.
      sample_bytes: Bytes of such an integer.
    """
    read, wanted = 0, file.frames if count is None else count
    kind, found = "int32" if md5 else "float32", hashlib.md5(usedforsecurity=False)
    with file, _reasons():
        if first:  # a frame of MP3 needs those before it
            warm_up = min(first, _WARM_UP) if file.format in ("MP3", "OGG") else 0
            file.seek(first - warm_up)
            file.read(warm_up)
        while count is None or read < count:
            size = _BLOCK if count is None else min(_BLOCK, count - read)
            block = file.read(size, dtype=kind, always_2d=True)
            if not len(block):
                break
            read += len(block)
            if md5:  # the high bytes of an integer are those that were stored
                parts = block.astype("<i4").view(np.uint8).reshape(-1, 4)
                found.update(parts[:, 4 - sample_bytes :].tobytes())
                block = (block / 2.0**31).astype(np.float32)
            yield block
        if read < wanted:
            raise AudioError(
                f"is cut short: {wanted - read} of {wanted} samples are missing"
            )
        if md5 and found.digest() != md5:
            raise AudioError("is damaged: its samples do not have their MD5")


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Whatever the libraries raise about a file is an AudioError."""
    try:
        yield
    except AudioError:
        raise
    except containers.NotWhole as error:
        raise AudioError(str(error)) from error
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot be decoded ({error.error_string})") from error
    except soundfile.SoundFileError as error:
        raise AudioError(f"cannot be decoded ({error})") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror})") from error
    except Exception as error:  # what a header says can lead anywhere
        raise AudioError(f"cannot be decoded ({error!r:.200})") from error


def _decibel(power: float) -> float:
    return 10 * math.log10(max(power, _LEAST))


def _power(block: np.ndarray) -> float:
    return float(np.square(block, dtype=np.float64).sum())
