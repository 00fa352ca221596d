"""What a user names to listen to, files, folders or tables -> recordings."""

import collections
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep import audio, corpora, features, paths
from data_prep.corpora import table
from glam_jax import results

TABLES = (".csv", ".tsv")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file of sound, or a part of one.

    Attributes:
      name: How answers call it: the path as it was given, or as a table names it.
      path: The file.
      start: Where it begins in the file, in seconds.
      end: Where it ends, None for the file's end.
    """

    name: str
    path: pathlib.Path
    start: float = 0.0
    end: float | None = None

    @property
    def part(self) -> str:
        """'#START-END', or '' for the whole file."""
        return table.part_of_file(self.start or None, self.end)

    @property
    def sound(self) -> str:
        """Which sound it is, however it was named."""
        return f"{self.path.resolve()}{self.part}"


def find(
    names: Sequence[str],
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[list[Recording], list[str], list[str]]:
    """Looks for sound.

    Args:
      names: Files, folders, in which everything that is named as sound is taken, and
        tables (.csv, .tsv), which may name parts of files.
      source: The folder that the paths in tables start from; None for the table's own.
      columns: The names of the tables' columns, see `table.Labels`.

    Returns:
      The recordings in the order of the names, each once, sentences on what was passed
      over, and on rows of tables that name nothing.

    Raises:
      ValueError: When there is no such file or folder, or no sound in a folder.
    """
    found: dict[str, Recording] = {}
    notes, problems = [], []
    folder = paths.local(source, "--source") if source else None
    for path in [paths.local(name, "FILE") for name in names]:
        if path.is_dir():
            sounds, others = corpora.below(path)
            if not sounds:
                raise ValueError(
                    f"{path.absolute()} holds no sound ({', '.join(corpora.SOUND)}), "
                    f"and no trained model ({results.MODEL})"
                )
            if others:
                kinds = ", ".join(f"{n} {kind}" for kind, n in others.most_common())
                notes.append(f"{path}: files that are not named as sound: {kinds}")
            new = [Recording(str(sound), sound) for sound in sounds]
        elif path.suffix.lower() in TABLES and path.exists():
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answers
                named = table.recordings(path, folder, columns)
            new = [Recording(u.id, u.path, u.start, u.end) for u in named.utterances]
            problems += [f"{row.path}: {row.reason}" for row in named.problems]
        elif path.exists():
            new = [Recording(str(path), path)]
        else:
            raise ValueError(f"there is no file or folder {path.absolute()}")
        for recording in new:
            found.setdefault(recording.sound, recording)
    return _told_apart(list(found.values())), notes, problems


def _told_apart(found: list[Recording]) -> list[Recording]:
    """The recordings; by their paths where names are alike, as in two tables."""
    names = collections.Counter(recording.name for recording in found)
    return [
        recording
        if names[recording.name] == 1
        else dataclasses.replace(recording, name=f"{recording.path}{recording.part}")
        for recording in found
    ]


def file_name(recording: Recording) -> str:
    """A name for a file about a recording, which tells it from others."""
    words = re.sub(r"[^\w.=-]+", "_", recording.name).strip("_.")
    end = words.encode()[-150:].decode(errors="ignore")
    digest = hashlib.sha256(os.fsencode(recording.name)).hexdigest()
    return f"{end}-{digest[:8]}"


def outline(recording: Recording, seconds: float) -> np.ndarray:
    """The lowest and highest sample of each part of a recording, to draw it.

    Args:
      recording: The recording.
      seconds: How long it is.

    Returns:
      (parts, 2), full scale one; the parts, about 2,000, are equally long.
    """
    width = max(1, int(seconds * features.SAMPLE_RATE) // 2000)
    parts, rest = [], np.zeros(0, np.float32)
    for block in audio.stream(recording.path, recording.start, recording.end):
        rest = np.concatenate([rest, block])
        whole = rest[: len(rest) // width * width].reshape(-1, width)
        parts.append(np.stack([whole.min(axis=1), whole.max(axis=1)], axis=1))
        rest = rest[whole.size :]
    return np.concatenate(parts)
