"""The cells of a confusion matrix: their utterances, and the recordings of these."""

import collections
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from data_prep import audio
from glam_jax import recordings, results

_PART = re.compile(r"(?P<name>.*?)(#(?P<start>[\d.e+-]+)-(?P<end>[\d.e+-]*))?", re.S)


def places(training: results.Training, true: int, predicted: int) -> np.ndarray:
    """The predictions of a cell, the most confident first.

    Args:
      training: A finished training.
      true: The number of the true class.
      predicted: That of the class it was taken for.

    Returns:
      (n,) int, their places in `training.probabilities`.
    """
    taken = training.probabilities.argmax(axis=1) == predicted
    (found,) = np.nonzero(taken & (training.labels == true))
    confidence = training.probabilities[found, predicted]
    return found[np.argsort(-confidence, kind="stable")]


class Corpus:
    """The recordings of a training's utterances, in a folder.

    Names say where an utterance may be, and the digest of the samples which file it is:
    nothing is read out but what the training was told of.
    """

    def __init__(self, source: pathlib.Path, groups: Mapping[str, Mapping[str, str]]):
        """Lists the sound files of the folder, without opening them.

        Args:
          source: The folder of the corpus, or one that holds those of several.
          groups: What utterances.csv says of each utterance, by id.

        Raises:
          ValueError: When there is no such folder, or it holds no sound.
        """
        if not source.is_dir():
            raise ValueError(f"--corpus_source: there is no folder {source.absolute()}")
        self._source, self._groups = source, groups
        self._files: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for found in recordings.find([str(source)])[0]:
            for name in {found.path.name, found.path.stem}:
                self._files[name].append(found.path)

    def read(self, utterance: str) -> np.ndarray:
        """The recording of an utterance of the training.

        Args:
          utterance: Its id.

        Returns:
          (samples,) float32, 16 kHz.

        Raises:
          ValueError: When it is not in the folder.
        """
        content = self._groups[utterance]["content"]
        name, start, end = _part(utterance)
        for path in self._candidates(name):
            try:
                sound = audio.stream(path, start, end)
                wave = np.concatenate([*sound])
            except audio.AudioError:
                continue
            if sound.content == content:
                return wave
        raise ValueError(
            f"{self._source} does not hold the recording {utterance} of this training"
        )

    def _candidates(self, name: str) -> list[pathlib.Path]:
        """Files that are called so; first those whose folders are called so too."""
        parts = pathlib.PurePosixPath(name).parts[::-1]

        def shared(path: pathlib.Path) -> int:
            pairs = zip(path.parts[-2::-1], parts[1:], strict=False)
            return sum(ours == theirs for ours, theirs in pairs)

        return sorted(self._files.get(parts[0], []), key=shared, reverse=True)


def _part(utterance: str) -> tuple[str, float, float | None]:
    """The name of a file that an id tells, and which part of the file it is."""
    found = _PART.fullmatch(utterance)
    assert found  # the pattern takes any text
    try:
        start, end = found["start"] or "0", found["end"]
        return found["name"], float(start), float(end) if end else None
    except ValueError:  # a name that looks like it
        return utterance, 0.0, None
