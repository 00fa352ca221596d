"""Writes small corpora and says what is in a folder."""

import pathlib

import numpy as np
import soundfile

EMODB = pathlib.Path(__file__).parents[1] / "data" / "emodb"


def noise(samples: int = 4800, seed: int = 0) -> np.ndarray:
    """(samples,) of quiet white noise."""
    return 0.1 * np.random.default_rng(seed).uniform(-1, 1, samples)


def write_emodb(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """Writes 0.3 s of noise under each name, in EmoDB's layout; returns `folder`."""
    return _write(folder, [f"wav/{name}" for name in names])


def write_ravdess(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """Writes 0.3 s of noise under each name, in RAVDESS's layout; returns `folder`."""
    return _write(folder, [f"Actor_{name[-2:]}/{name}" for name in names])


def write_crema_d(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """Writes 0.3 s of noise under each name, in CREMA-D's layout; returns `folder`."""
    return _write(folder, [f"AudioWAV/{name}" for name in names])


def _write(folder: pathlib.Path, paths: list[str]) -> pathlib.Path:
    for seed, path in enumerate(paths):
        wav = folder / f"{path}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, noise(seed=seed), 16000)
    return folder


def write_iemocap(folder: pathlib.Path, turns: dict[str, str]) -> pathlib.Path:
    """Writes turns (name: emotion) of 0.3 s in IEMOCAP's layout; returns `folder`."""
    for seed, (turn, emotion) in enumerate(turns.items()):
        wav = wav_of(folder, turn)
        wav.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, noise(seed=seed), 16000)
        add_label(folder, turn, emotion)
    return folder


def wav_of(folder: pathlib.Path, turn: str) -> pathlib.Path:
    """Where IEMOCAP has the sound of a turn."""
    session = folder / f"Session{int(turn[3:5])}"
    return session / "sentences" / "wav" / turn.rpartition("_")[0] / f"{turn}.wav"


def labels_of(folder: pathlib.Path, turn: str) -> pathlib.Path:
    """Where IEMOCAP has the label of a turn."""
    session = folder / f"Session{int(turn[3:5])}"
    return session / "dialog" / "EmoEvaluation" / f"{turn.rpartition('_')[0]}.txt"


def add_label(folder: pathlib.Path, turn: str, emotion: str) -> None:
    """Appends a turn, and what one evaluator thought of it, to its dialogue's file."""
    file = labels_of(folder, turn)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as labels:
        if labels.tell() == 0:
            labels.write("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n")
        labels.write(
            f"[6.2901 - 8.2357]\t{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n"
            "C-E1:\tFrustration;\t()\n"
            "A-E1:\tval 3; act 2; dom  2;\t()\n\n"
        )


def contents(folder: pathlib.Path) -> dict[str, tuple[int, bytes]]:
    """Returns (time of change, bytes) of everything in a folder by its path there."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }
