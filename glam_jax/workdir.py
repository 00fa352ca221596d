"""What a training leaves on disk: config, one line per epoch, predictions.

Everything a report needs is in these files, and a run that stopped goes on from them
and its checkpoints. Of several processes all read and only the first writes.
"""

import csv
import json
import os
import pathlib
from typing import Any

import ml_collections
import numpy as np

from glam_jax import parallel

CHECKPOINTS = "checkpoints"
REPORT = "report.json"
EMBEDDING = "embedding.npz"
# Fields of a config that say where and how, and do not change the numbers.
WITHOUT_EFFECT = (
    "data_dir",
    "parallel",
    "runs_per_group",
    "input",
    "input_workers",
)


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Replaces a file in one step: a reader sees the old text or the new."""
    if not parallel.is_first_process():
        return
    temporary = path.with_name(f".{path.name}.incomplete")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def claim(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes `folder` the place of this config's training.

    A folder in which nothing was trained yet may change its config.

    Raises:
      ValueError: when it is another config's, with the differences.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    ours = json.loads(config.to_json_best_effort())
    if not (folder / CHECKPOINTS).exists():
        write_atomically(path, json.dumps(ours, indent=2) + "\n")
        return
    theirs = json.loads(path.read_text())
    differences = [
        f"  {key}: {theirs.get(key, 'not set')} there, {ours.get(key, 'not set')} here"
        for key in sorted((theirs.keys() | ours.keys()) - {*WITHOUT_EFFECT})
        if theirs.get(key) != ours.get(key)
    ]
    if differences:
        raise ValueError(
            f"{folder} holds the training of another config:\n"
            + "\n".join(differences)
            + "\nGive another --workdir, or delete this one."
        )


def keep_splits(folder: pathlib.Path, split_file: str) -> None:
    """Keeps the text of a split file as splits.csv.

    Raises:
      ValueError: when the training in `folder` began with other splits.
    """
    path = folder / "splits.csv"
    began = (folder / CHECKPOINTS).exists() and path.exists()
    if began and path.read_text() != split_file:
        raise ValueError(
            f"{folder} was begun with other splits: the data set or the split file has "
            "changed since. Give another --workdir, or delete this one."
        )
    write_atomically(path, split_file)


class Metrics:
    """metrics.jsonl: one object for each epoch of each run."""

    def __init__(self, folder: pathlib.Path):
        self._path = folder / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self._path.exists():
            self.rows = [
                json.loads(line)
                for line in self._path.read_text().splitlines(keepends=True)
                if line.endswith("\n")  # a kill can cut the last line
            ]

    def of_run(self, run: int) -> list[dict[str, Any]]:
        """The rows of a run, by epoch."""
        return [row for row in self.rows if row["run"] == run]

    def add(self, row: dict[str, Any]) -> None:
        """Appends an epoch."""
        self.rows.append(row)
        if not parallel.is_first_process():
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, run: int, epoch: int) -> None:
        """Drops the epochs of `run` after `epoch`: they will be trained again."""
        self.rows = [r for r in self.rows if r["run"] != run or r["epoch"] <= epoch]
        lines = [json.dumps(row) + "\n" for row in self.rows]
        write_atomically(self._path, "".join(lines))


class Predictions:
    """predictions.csv: class probabilities of each test utterance of each finished run.

    They are those of the epoch that the protocol reports.
    """

    def __init__(self, folder: pathlib.Path, class_names: tuple[str, ...]):
        self._path = folder / "predictions.csv"
        self._class_names = class_names
        self._rows: list[list[str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                self._rows = list(csv.reader(file))[1:]

    def runs(self) -> list[int]:
        """The finished runs, in order."""
        return sorted({int(row[1]) for row in self._rows})

    def add(
        self, run: int, ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
    ) -> None:
        """Adds a finished run.

        Args:
          run: its number.
          ids: (utterances,) str.
          labels: (utterances,) true labels.
          probabilities: (utterances, classes).
        """
        self._rows += [
            [utterance, str(run), self._class_names[label], *map(str, row)]
            for utterance, label, row in zip(ids, labels, probabilities, strict=True)
        ]
        header = ["utterance", "run", "label", *self._class_names]
        lines = [",".join(row) + "\n" for row in [header, *self._rows]]
        write_atomically(self._path, "".join(lines))

    def of_run(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """(utterances,) true labels and (utterances, classes) probabilities."""
        rows = [row for row in self._rows if int(row[1]) == run]
        labels = [self._class_names.index(row[2]) for row in rows]
        return np.array(labels), np.array([row[3:] for row in rows], np.float32)


class Workdir:
    """The folder of one training.

    Attributes:
      folder: the folder.
      metrics: its metrics.jsonl.
      predictions: its predictions.csv.
    """

    def __init__(self, folder: pathlib.Path, class_names: tuple[str, ...]):
        self.folder = folder
        self.metrics = Metrics(folder)
        self.predictions = Predictions(folder, class_names)

    def checkpoints(self, run: int) -> pathlib.Path:
        """Where the checkpoints of a run are."""
        return self.folder / CHECKPOINTS / f"run_{run:03d}"
