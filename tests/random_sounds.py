"""Random sounds, most of them wrong, and what is read of each."""

import collections
import pathlib
import warnings

import numpy as np
import soundfile
import soxr

from data_prep import audio

USUAL = (16000, 22050, 44100, 48000)
RATES = (1, 500, 4000, 8000, 11025, *USUAL, *USUAL, *USUAL, 96000, 192000, 500000)
CHANNELS = (1, 1, 1, 1, 2, 2, 2, 3, 6)
FORMATS = {
    "WAV": ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"),
    "WAVEX": ("PCM_16", "FLOAT"),
    "RF64": ("PCM_16", "FLOAT"),
    "W64": ("PCM_16",),
    "AIFF": ("PCM_16", "FLOAT"),
    "AU": ("PCM_16", "ULAW"),
    "CAF": ("PCM_16", "ALAC_16"),
    "NIST": ("PCM_16",),
    "FLAC": ("PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III",),
}
LOSSY = ("ULAW", "IMA_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_III", "PCM_U8")


def _samples(random: np.random.Generator, rate: int, channels: int) -> np.ndarray:
    count = int(max(rate, 8000) * random.uniform(0.2, 0.4))
    time = np.arange(count) / max(rate, 8000)
    tone = sum(np.sin(2 * np.pi * f * time) for f in random.uniform(80, 900, 4)) / 8
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    gains = random.uniform(0.5, 1.0, channels)
    return (tone * loud)[:, None] * gains + 0.002 * random.normal(
        size=(count, channels)
    )


def _spoil(samples: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    samples, place = samples.copy(), random.integers(len(samples))
    if kind in ("nan", "inf", "huge"):
        samples[place] = {"nan": np.nan, "inf": np.inf, "huge": 1e30}[kind]
    elif kind == "constant":
        samples[:] = random.uniform(-1, 1)
    elif kind == "silent":
        samples[:] = 0
    elif kind == "opposite":
        samples[:, ::2] = -samples[:, :1]
        samples[:, 1::2] = samples[:, :1] * (samples.shape[1] > 1)
    elif kind == "integers":
        samples *= 32768
    elif kind == "clipped":
        samples = np.clip(20 * samples, -1, 1)
    return samples


def _break(content: bytes, kind: str, random: np.random.Generator) -> bytes:
    content = bytearray(content)
    if kind == "truncated":
        return bytes(content[: random.integers(len(content))])
    if kind == "header":
        content[random.integers(min(len(content), 48))] ^= 1 << int(random.integers(8))
    elif kind == "length":
        place = content.find(b"data") + 4
        low = bytes(random.integers(0, 256, 3, np.uint8))
        content[place : place + 4] = low + b"\0"
    elif kind == "garbage":
        content += bytes(random.integers(0, 256, 1000, np.uint8))
    elif kind == "doubled":
        content *= 2
    elif kind == "text":
        content = bytearray(b"no sound at all\n" * 100)
    return bytes(content)


SAMPLES = (
    "nan",
    "inf",
    "huge",
    "constant",
    "silent",
    "opposite",
    "integers",
    "clipped",
)
BYTES = (
    "truncated",
    "truncated",
    "header",
    "header",
    "length",
    "garbage",
    "doubled",
    "text",
)


def try_all(folder: pathlib.Path, count: int, random: np.random.Generator):
    """Makes so many sounds and reads them; counts and prints as the campaign does."""
    outcomes: collections.Counter = collections.Counter()
    for number in range(count):
        found, what = try_one(folder / "sound", random)
        outcomes[found.split()[0]] += 1
        if not found.startswith(("identical", "named")):
            print(f"sound {number}: {what}: {found}", flush=True)
    return outcomes


def try_one(path: pathlib.Path, random: np.random.Generator) -> tuple[str, str]:
    """Makes a sound, reads it, and compares what is read with what was made."""
    kind = str(random.choice(["as it is", *SAMPLES, *BYTES]))
    while True:
        format_ = str(random.choice([*FORMATS]))
        subtype = str(random.choice(FORMATS[format_]))
        rate, channels = int(random.choice(RATES)), int(random.choice(CHANNELS))
        samples = _spoil(_samples(random, rate, channels), kind, random)
        if subtype not in ("FLOAT", "DOUBLE"):  # what a codec makes of more is its own
            samples = np.clip(np.nan_to_num(samples), -1, 1)
            if kind in ("nan", "inf", "huge", "integers"):
                continue
        usual = 8000 <= rate <= 48000 and channels <= 2
        if format_ in ("OGG", "MP3") and not usual:  # libsndfile crashes writing it
            continue
        if kind == "constant" and subtype in LOSSY:
            continue
        if kind == "length" and format_ not in ("WAV", "WAVEX"):
            continue
        try:
            soundfile.write(path, samples, rate, subtype, format=format_)
            break
        except (
            soundfile.SoundFileError,
            ValueError,
            AssertionError,
        ):  # no such combination
            continue
    what = f"{kind}, {format_} {subtype} {rate} Hz {channels} channels"
    path.write_bytes(_break(path.read_bytes(), kind, random))
    try:
        with warnings.catch_warnings(action="error"):
            heard = audio.read(path)
    except audio.AudioError:
        return "named", what
    except Exception as error:
        return f"unnamed ({type(error).__name__}: {error})", what
    if heard.warnings:
        return "named", what
    made = samples.mean(axis=1).astype(np.float32)
    if subtype == "OPUS" or rate != 16000:
        made = soxr.resample(made, rate, 16000)
    return _compare(heard.wave, made, subtype), what


def _compare(heard: np.ndarray, made: np.ndarray, subtype: str) -> str:
    lossy = subtype in LOSSY
    if abs(len(heard) - len(made)) > (2500 if lossy else 1):
        return f"silent ({len(heard)} samples instead of {len(made)})"
    size = 1 << (len(heard) + len(made)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(made, size).conj())
    likeness = product.max() / np.sqrt(np.square(heard).sum() * np.square(made).sum())
    loudness = np.square(heard).sum() / np.square(made).sum()
    exact = likeness >= 0.999 and 0.99 < loudness < 1.01 and product.argmax() == 0
    alike = likeness >= 0.9 and 0.8 < loudness < 1.25
    if not (alike if lossy else exact):
        return f"silent (likeness {likeness:.4f}, loudness {loudness:.2f})"
    return "identical"
