"""A synthetic demo corpus in IEMOCAP's layout, for trying the program.

Nobody speaks here: every turn is source-filter synthesis with random vowels in place
of words, its pitch, level, tempo and voice quality set by the tables below. It lets
users without an IEMOCAP licence run everything from wav files to a trained model. It
is no benchmark: a score on it says nothing about emotion in human speech.
"""

import dataclasses
import itertools
import math
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy  # scipy.signal is imported where it is used: that takes a second
import soundfile

from data_prep import claims, corpora
from data_prep.corpora import iemocap

SAMPLE_RATE = 16_000  # Hz


class Voice(NamedTuple):
    """How one turn is spoken; also a row of the tables that add up to it."""

    pitch: float  # mean f0, semitones above 100 Hz
    accent: float  # standard deviation of f0 between syllables, semitones
    level: float  # RMS, dB of full scale
    tempo: float  # syllables per second
    tilt: float  # what the source loses at 3 kHz, dB
    open_quotient: float  # part of a glottal cycle with the glottis open
    breath: float  # aspiration noise against the glottal source, dB
    jitter: float  # standard deviation of the period between cycles, %
    shimmer: float  # standard deviation of the amplitude between cycles, %
    formants: float  # factor on the formants of VOWELS


# A turn is the speaker's gender + the speaker + a strength times the emotion + chance.
# fmt: off
#                     pitch accent level tempo tilt open breath jitter shimmer formants
GENDERS = {
    "F":        Voice( 12.5,  1.7,  -30,  4.6,   9, 0.64,  -24,  0.6,    4.0,    1.17),
    "M":        Voice(  2.0,  1.6,  -30,  4.6,   8, 0.58,  -28,  0.8,    4.0,    1.00)}
EMOTIONS = {
    "neu":      Voice(  0.0,  0.0,    0,  0.0,   0, 0.00,    0,  0.0,    0.0,    0.00),
    "sad":      Voice( -2.0, -0.9,   -6, -1.1,   6, 0.08,    8,  0.2,    1.0,   -0.01),
    "ang":      Voice(  4.0,  0.9,    8,  0.7,  -6,-0.12,   -4,  0.6,    4.0,    0.02),
    "exc":      Voice(  6.0,  2.0,    5,  0.8,  -2, 0.02,    2,  0.2,    1.0,    0.05),
    "hap":      Voice(  4.0,  1.3,    3,  0.4,  -1, 0.02,    2,  0.1,    0.0,    0.04),
    "fru":      Voice(  2.0,  0.4,    4,  0.2,  -3,-0.06,   -2,  0.4,    2.0,    0.01)}
SPEAKER_SPREAD = Voice(1.5,  0.3,  2.5,  0.4,   2, 0.03,    2,  0.1,    1.0,    0.04)
TURN_SPREAD =    Voice(1.0,  0.3,  2.0,  0.4,   2, 0.03,    2,  0.1,    1.0,    0.02)
LOWEST =         Voice( -6,  0.3,  -48,  2.0,   1, 0.35,  -40,  0.2,    1.0,    0.80)
# fmt: on
# The emotions of one dialogue, shuffled anew in each; 'xxx' mixes the others.
DECK = 3 * ["neu", "sad", "ang", "exc"] + 2 * ["hap"] + ["fru", "xxx"]

# F1 to F4 in Hz of a man's vowels, in heed, hid, head; had, hod, hawed; hood, who'd,
# hud. F1 to F3 are from Peterson & Barney 1952, table II.
# fmt: off
VOWELS = np.array([
    [270, 2290, 3010, 3600], [390, 1990, 2550, 3600], [530, 1840, 2480, 3500],
    [660, 1720, 2410, 3500], [730, 1090, 2440, 3400], [570,  840, 2410, 3300],
    [440, 1020, 2240, 3300], [300,  870, 2240, 3300], [640, 1190, 2390, 3400],
])
# fmt: on
BANDWIDTHS = [70, 100, 150, 250]  # of F1 to F4, Hz
ROOM_LEVEL = -65  # RMS of the room noise, dB of full scale
STRENGTH = (0.6, 1.3)  # range of what an emotion is multiplied with in a turn


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a dialogue; `start` and `end` in seconds on the dialogue's clock."""

    name: str
    emotion: str
    start: float
    end: float

    @property
    def speaker(self) -> str:
        """Session and the speaker's gender, 'Ses01F'; not who wears the markers."""
        return self.name[:5] + self.name[-4]


def read(source: str | pathlib.Path) -> corpora.Corpus:
    """Reads the demo corpus in folder `source`, synthesised first if not there."""
    folder = pathlib.Path(source).expanduser()
    if not folder.exists():
        lock = f".{folder.name}{claims.LOCK}"
        with claims.wait_for(folder.parent, f"{folder} is being made", lock):
            for leftover in folder.parent.glob(f".{folder.name}.incomplete-*"):
                shutil.rmtree(leftover)  # a killed process left it
            if not folder.exists():
                synthesise(folder)
    return iemocap.read(folder)


def count_differences(turns: Iterable[tuple[str, str, float]]) -> list[str]:
    """Nothing is published of a synthetic corpus."""
    del turns
    return []


def synthesise(
    folder: pathlib.Path,
    seed: int = 0,
    sessions: int = 5,
    dialogues_per_session: int = 4,
) -> None:
    """Writes the demo corpus, the same bytes for the same seed, or nothing at all.

    The whole of it (320 turns, 15 minutes of sound) takes about 5 s on one core.

    Args:
      folder: The folder to make, the counterpart of `IEMOCAP_full_release`.
      seed: The seed of everything random.
      sessions: Sessions, with one female and one male speaker each.
      dialogues_per_session: Dialogues of a session, of 16 turns each.

    Raises:
      ValueError: When `folder` exists.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists; the demo corpus needs a new folder")
    incomplete = folder.parent / f".{folder.name}.incomplete-{os.getpid()}"
    try:
        for session in range(1, sessions + 1):
            for index in range(dialogues_per_session):
                dialogue = dialogue_name(session, index)
                write_dialogue(incomplete / f"Session{session}", dialogue, seed)
        os.rename(incomplete, folder)
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


def dialogue_name(session: int, index: int) -> str:
    """Names a dialogue as IEMOCAP does: 'Ses01F_impro01', 'Ses01M_script01_1', ..."""
    number = index // 4 + 1
    kind = f"script{number:02}_1" if index % 4 >= 2 else f"impro{number:02}"
    return f"Ses{session:02}{'FM'[index % 2]}_{kind}"


def write_dialogue(folder: pathlib.Path, dialogue: str, seed: int) -> None:
    """Writes the wav files and the EmoEvaluation file of a dialogue.

    Args:
      folder: The folder of the session.
      dialogue: The dialogue's name.
      seed: The seed of the corpus.
    """
    labels = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    sounds = folder / "sentences" / "wav" / dialogue
    labels.parent.mkdir(parents=True, exist_ok=True)
    sounds.mkdir(parents=True)
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
    for turn in plan_dialogue(dialogue, seed):
        path = sounds / f"{turn.name}.wav"
        soundfile.write(path, speak(turn, seed), SAMPLE_RATE, subtype="PCM_16")
        clock = f"[{turn.start:.4f} - {turn.end:.4f}]"
        lines += [
            f"{clock}\t{turn.name}\t{turn.emotion}\t[2.5000, 2.5000, 2.5000]",
            "C-E1:\tNeutral;\t()",
            "C-E2:\tNeutral;\t()",
            "A-E1:\tval 3; act 2; dom  2;\t()\n",
        ]
    labels.write_text("\n".join(lines), encoding="utf-8")


def plan_dialogue(dialogue: str, seed: int) -> list[Turn]:
    """Draws who says how long a turn in which emotion, in the order of time."""
    rng = generator(seed, dialogue)
    numbers = {"F": itertools.count(), "M": itertools.count()}
    genders = rng.permutation(list("FM" * (len(DECK) // 2)))
    clock = 0.0
    turns = []
    for gender, emotion in zip(genders, rng.permutation(DECK), strict=True):
        start = clock + rng.uniform(0.2, 2.0)
        clock = start + np.clip(rng.lognormal(math.log(2.7), 0.33), 1.0, 6.0)
        name = f"{dialogue}_{gender}{next(numbers[gender]):03}"
        turns.append(Turn(name, str(emotion), start, clock))
    return turns


def generator(seed: int, name: str) -> np.random.Generator:
    """Returns the random generator of a speaker, a dialogue or a turn by its name."""
    return np.random.default_rng([seed, *name.encode()])


def speak(turn: Turn, seed: int) -> np.ndarray:
    """Synthesises one turn.

    Returns:
      (samples,) of float64 at 16 kHz, absolute values under 0.9.
    """
    rng = generator(seed, turn.name)
    voice = turn_voice(turn, seed, rng)
    samples = round((turn.end - turn.start) * SAMPLE_RATE)
    pitch, voicing, friction, formants = draw_contours(samples, voice, rng)
    aspiration, hiss, room = rng.normal(size=(3, samples))
    source = glottal_source(pitch, voice, rng)
    source = unit_level(source) + amplitude(voice.breath) * aspiration
    vowels = formant_filter(source * voicing, formants)
    hiss = unit_level(np.diff(hiss, n=2, prepend=[0, 0])) * friction
    speech = unit_level(unit_level(vowels) + 0.7 * hiss)
    room = unit_level(np.asarray(scipy.signal.lfilter([1], [1, -0.9], room)))
    sound = amplitude(voice.level) * speech + amplitude(ROOM_LEVEL) * room
    return sound * min(1, 0.89 / np.abs(sound).max())


def turn_voice(turn: Turn, seed: int, rng: np.random.Generator) -> Voice:
    """Adds up the rows of the tables for one turn."""
    columns = len(Voice._fields)
    speaker = generator(seed, turn.speaker)
    voice = np.array(GENDERS[turn.speaker[-1]])
    voice += SPEAKER_SPREAD * speaker.normal(size=columns)
    expressiveness = speaker.lognormal(0, 0.2) * speaker.lognormal(0, 0.2, columns)
    if turn.emotion == "xxx":
        shift = rng.dirichlet(np.ones(len(EMOTIONS))) @ np.array([*EMOTIONS.values()])
    else:
        shift = np.array(EMOTIONS[turn.emotion])
    voice += rng.uniform(*STRENGTH) * expressiveness * shift
    voice += TURN_SPREAD * rng.normal(size=columns)
    return Voice(*np.maximum(voice, LOWEST))


def draw_contours(samples: int, voice: Voice, rng: np.random.Generator) -> tuple:
    """Draws the syllables of a turn: a tenth are pauses, a third begin with a hiss.

    Returns:
      (samples,) of pitch in semitones above 100 Hz, (samples,) of the amplitudes of
      voice and hiss, and (4, samples) of the formants in Hz.
    """
    times = np.arange(samples) / SAMPLE_RATE
    count = max(3, round(times[-1] * voice.tempo))
    lengths = rng.lognormal(0, 0.25, count)
    lengths *= times[-1] / lengths.sum()
    starts = np.cumsum(lengths) - lengths
    prominence = rng.normal(size=count)
    loudness = np.asarray(amplitude(2 * prominence))
    loudness[1:-1][rng.random(count - 2) < 0.1] = 0
    fricative = (rng.random(count) < 0.35) * (loudness > 0)
    vowels = VOWELS[rng.integers(len(VOWELS), size=count)]

    def contour(*points):
        """Joins points of every syllable: (fraction of its length, its values)."""
        knots = np.transpose([starts + fraction * lengths for fraction, _ in points])
        values = np.transpose([value * np.ones(count) for _, value in points])
        return np.interp(times, knots.ravel(), values.ravel())

    accents = contour((0.5, voice.accent * prominence))
    pitch = voice.pitch + accents - 1.2 * (times - times.mean())  # declination
    valley = np.where(fricative, 0, 0.25 * loudness)
    voicing = contour((0, valley), (0.4, loudness), (0.75, 0.8 * loudness))
    voicing *= np.clip(np.minimum(times, times[::-1]) / 0.04, 0, 1)
    friction = fricative * rng.uniform(0.3, 1, count)
    friction = contour((0, 0), (0.15, friction), (0.4, 0))
    formants = voice.formants * np.array([contour((0.6, row)) for row in vowels.T])
    return pitch, voicing, friction, formants


def glottal_source(
    pitch: np.ndarray, voice: Voice, rng: np.random.Generator
) -> np.ndarray:
    """Rosenberg's glottal pulses (1971), differentiated and low-passed to the tilt.

    Args:
      pitch: (samples,) semitones above 100 Hz.
      voice: The voice; its open quotient, jitter, shimmer and tilt count here.
      rng: The random generator.

    Returns:
      (samples,) of the source, at no particular level.
    """
    f0 = 100 * 2 ** (pitch / 12)
    cycle = np.cumsum(f0 / SAMPLE_RATE).astype(int)
    jitter = voice.jitter / 100 * rng.normal(size=cycle[-1] + 1)
    phase = np.cumsum(f0 / SAMPLE_RATE * (1 + jitter[cycle]))
    cycle = phase.astype(int)
    shimmer = voice.shimmer / 100 * rng.normal(size=cycle[-1] + 1)
    opening = 1.5 * (phase % 1) / voice.open_quotient  # opens up to 1, closes up to 1.5
    rising = 0.5 - 0.5 * np.cos(np.pi * opening)
    falling = np.cos(np.pi * (opening - 1))
    flow = np.where(opening < 1, rising, np.where(opening < 1.5, falling, 0))
    source = np.diff(flow * (1 + shimmer[cycle]), prepend=0)
    # The one pole whose power at 3 kHz is `power`, and 1 at 0 Hz.
    power = amplitude(-2 * voice.tilt)
    middle = 1 - power * math.cos(2 * math.pi * 3000 / SAMPLE_RATE)
    middle /= 1 - power
    pole = middle - math.sqrt(middle**2 - 1)
    return np.asarray(scipy.signal.lfilter([1 - pole], [1, -pole], source))


def formant_filter(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Passes a source through moving resonators in series (Klatt 1980).

    They are gains on a short-time Fourier transform, so that all frames go at once.

    Args:
      source: (samples,).
      formants: (4, samples) in Hz.

    Returns:
      (samples,) filtered.
    """
    frequencies, times, spectrum = scipy.signal.stft(source, SAMPLE_RATE, nperseg=512)
    delay = np.exp(-2j * np.pi * frequencies / SAMPLE_RATE)[:, None]  # of one sample
    frames = np.minimum(np.rint(times * SAMPLE_RATE).astype(int), source.size - 1)
    for formant, bandwidth in zip(formants[:, frames], BANDWIDTHS, strict=True):
        radius = math.exp(-math.pi * bandwidth / SAMPLE_RATE)
        middle = -2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE)
        gain = 1 + middle + radius**2
        spectrum *= gain / (1 + middle * delay + radius**2 * delay**2)
    return scipy.signal.istft(spectrum, SAMPLE_RATE, nperseg=512)[1][: source.size]


def amplitude(level: float | np.ndarray) -> float | np.ndarray:
    """Returns the amplitude of a level in dB."""
    return 10 ** (level / 20)


def unit_level(sound: np.ndarray) -> np.ndarray:
    """Scales a sound to an RMS of 1."""
    return sound / np.sqrt(np.mean(sound**2))
