"""What a training leaves on disk: config, one line per epoch, predictions.

Everything a report needs is in these files, and a run that stopped goes on from them
and its checkpoints. Of several processes all read and only the first writes.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import safetensors.numpy

from configs import base
from data_prep import text as text_lib
from glam_jax import (
    checkpoint,
    input_pipeline,
    parallel,
    prepared,
    provenance,
    results,
    runs,
    steps,
    values,
    weights,
)

CONFIG = "config.json"
SPLITS = "splits.csv"
# What a training leaves; a folder with one of them is its config's.
RESULTS = (
    weights.CHECKPOINTS,
    weights.MODEL,
    results.REPORT,
    "metrics.jsonl",
    "predictions.csv",
)


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Replaces a file in one step: a reader sees the old text or the new."""
    if not parallel.is_first_process():
        return
    text_lib.write_text(path, text)


def has_results(folder: pathlib.Path) -> bool:
    """Whether a training has left anything in a folder."""
    return any((folder / name).exists() for name in RESULTS)


def claim(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes `folder` the place of this config's training.

    config.json is written while there are no results, and never afterwards.

    Raises:
      ValueError: When it is another config's, with the differences.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONFIG
    ours = json.loads(config.to_json_best_effort())
    if not has_results(folder):
        write_atomically(path, json.dumps(ours, indent=2) + "\n")
        return
    began = (folder / weights.CHECKPOINTS).exists() or (
        folder / results.REPORT
    ).exists()
    if began and not (folder / weights.MODEL).exists():
        raise ValueError(
            f"{folder} holds a training without {weights.MODEL}: one of an earlier "
            "version of glam_jax, which this one can neither open nor go on with, or "
            "one that lost it. Give another --workdir, or delete this one to train "
            "again."
        )
    theirs = read_config(folder)
    differences = [
        f"  {key}: {theirs.get(key, 'not set')} there, {ours.get(key, 'not set')} here"
        for key in sorted((theirs.keys() | ours.keys()) - {*values.WITHOUT_EFFECT})
        if theirs.get(key) != ours.get(key)
    ]
    if differences:
        raise ValueError(
            f"{folder} holds the training of another config:\n"
            + "\n".join(differences)
            + "\nGive another --workdir, or delete this one."
        )


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """What config.json holds; fields that an earlier version lacked at their defaults.

    Args:
      folder: The folder of a training.
    """
    found = results.read_json(folder / CONFIG)
    defaults = json.loads(base.get_config().to_json_best_effort())
    augment = defaults["augment"] | found.get("augment", {})
    return defaults | found | {"augment": augment}


def keep_splits(folder: pathlib.Path, split_table: str) -> None:
    """Keeps which utterance is in which part of which run as splits.csv.

    Raises:
      ValueError: When the training in `folder` began with other splits.
    """
    path, model = folder / SPLITS, folder / weights.MODEL
    table = split_table.encode()
    if has_results(folder) and model.exists():
        digest = hashlib.sha256(table).hexdigest()
        if (results.read_json(model).get("splits") or digest) != digest:
            raise ValueError(
                f"{folder} was begun with other splits: the data set or the split file "
                "has changed since. Give another --workdir, or delete this one."
            )
        if path.exists() and path.read_bytes() != table:
            print(f"{path} is not what was written; it is written again")
    write_atomically(path, split_table)


class Metrics:
    """metrics.jsonl: one object for each epoch of each run."""

    def __init__(self, folder: pathlib.Path):
        self._path = folder / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self._path.exists():
            lines = self._path.read_bytes().splitlines()
            self.rows = [row for line in lines if (row := _epoch(line))]

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


def _epoch(line: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for one that a kill has cut, or that is damaged."""
    try:
        row = json.loads(line)
        return row if isinstance(row["run"] + row["epoch"], int) else None
    except (ValueError, KeyError, TypeError):
        return None


class Predictions:
    """predictions.csv: class probabilities of each test utterance of each finished run.

    They are those of the epoch that the protocol reports.
    """

    def __init__(self, folder: pathlib.Path, class_names: tuple[str, ...]):
        if len(set(class_names)) < len(class_names):
            raise ValueError(f"two classes have one name: {', '.join(class_names)}")
        self._path = folder / "predictions.csv"
        self._class_names = class_names
        self._rows: list[list[str]] = []
        if self._path.exists():
            with contextlib.suppress(ValueError):  # damaged: its runs are not finished
                _, rows = text_lib.read_csv(self._path)
                width = 3 + len(class_names)
                self._rows = [
                    row for row in rows if len(row) == width and row[1].isdecimal()
                ]

    def runs(self) -> list[int]:
        """The finished runs, in order."""
        return sorted({int(row[1]) for row in self._rows})

    def keep(self, runs: set[int]) -> None:
        """Drops all runs but these."""
        self._rows = [row for row in self._rows if int(row[1]) in runs]

    def rows_of(self, run: int) -> list[list[str]]:
        """The rows of a run, as in the file."""
        return [row for row in self._rows if row[1] == str(run)]

    def add(
        self, run: int, ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
    ) -> None:
        """Adds a finished run, or replaces it.

        Args:
          run: The run's number.
          ids: (utterances,) str.
          labels: (utterances,) int32, the true classes.
          probabilities: (utterances, classes) float32.
        """
        self._rows = [row for row in self._rows if row[1] != str(run)]
        self._rows += [
            [str(utterance), str(run), self._class_names[label], *map(str, row)]
            for utterance, label, row in zip(ids, labels, probabilities, strict=True)
        ]
        self._rows.sort(key=lambda row: int(row[1]))  # as if none had been made again
        header = ["utterance", "run", "label", *self._class_names]
        write_atomically(self._path, text_lib.csv_text(header, self._rows))

    def of_run(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """(utterances,) true labels and (utterances, classes) probabilities."""
        rows = self.rows_of(run)
        labels = [self._class_names.index(row[2]) for row in rows]
        return np.array(labels), np.array([row[3:] for row in rows], np.float32)


class Workdir:
    """The folder of one training.

    Attributes:
      folder: The folder.
      metrics: Its metrics.jsonl.
      predictions: Its predictions.csv.
    """

    def __init__(self, folder: pathlib.Path, class_names: tuple[str, ...]):
        self.folder = folder
        self.metrics = Metrics(folder)
        self.predictions = Predictions(folder, class_names)
        path = folder / weights.MODEL
        self.model: dict[str, Any] = results.read_json(path) if path.exists() else {}

    def checkpoints(self, run: int) -> pathlib.Path:
        """Where the checkpoints of a run are."""
        return self.folder / weights.CHECKPOINTS / f"run_{run:03d}"

    def finished(self) -> set[int]:
        """The runs whose predictions, metrics and weights are as they were written."""
        found = set()
        for run in self.model.get("runs", []):
            number = run["run"]
            digests = {
                "predictions": results.digest(self.predictions.rows_of(number)),
                "metrics": results.digest(self.metrics.of_run(number)),
                "files": results.folder_digest(self.folder / run["weights"]),
            }
            other = [
                what for what, digest in digests.items() if run.get(what) != digest
            ]
            if not other:
                found.add(number)
                continue
            words = " and ".join(other).replace("files", f"files of {run['weights']}")
            print(
                f"{self.folder}: {words} of run {number} are not those that were "
                "written; they are made again"
            )
        return found

    def check_origin(self, origin: dict[str, Any]) -> None:
        """Raises ValueError when the training began with other data or another network.

        Args:
          origin: See `provenance.begin`.
        """
        began, ours = self.model.get("provenance", {}), origin["network_sha256"]
        if began.get("network_sha256", ours) != ours:
            raise ValueError(
                f"{self.folder} was begun with another file of the network (SHA-256 "
                f"{began['network_sha256']!s:.16} there, {ours!s:.16} now): its runs "
                f"would be of two networks. Bring the file back, or {results.DELETE}"
            )
        digest = origin["data_digest"]
        began = began.get("data_digest", digest)
        if began != digest:
            raise ValueError(
                f"{self.folder} was begun with other data under the same name (digest "
                f"{began[:16]} there, {digest[:16]} now): recordings, labels or groups "
                f"differ. Bring the data set back, or {results.DELETE}"
            )

    def describe(
        self,
        config: ml_collections.ConfigDict,
        dataset: input_pipeline.Dataset,
        origin: dict[str, Any],
    ) -> None:
        """Writes model.json, all that is needed to use the trained network.

        And utterances.csv, which says what each utterance belongs to. When a training
        goes on, the finished runs stay; a report of files that are made again does not,
        for it would tell of a finished training.

        Args:
          config: The recipe.
          dataset: The utterances.
          origin: See `provenance.begin`.
        """
        self.model = {
            "provenance": provenance.went_on(self.model.get("provenance", {}), origin),
            "runs": self.model.get("runs", []),
            "protocol": config.protocol,
            "splits": results.digests(self.folder).get(SPLITS),
            "sound": prepared.sound(config),
        } | weights.describe(
            config.model,
            dataset.class_names,
            config.dtype,
            dataclasses.replace(prepared.cuts(config)[-1][0], corpus=config.corpus),
            dataset.features.shape[1:],
            {
                name: config[name]
                for name in ("frontend", "pad_mode", "short", "normalise")
            },
        )
        if parallel.is_first_process():
            (self.folder / results.REPORT).unlink(missing_ok=True)
        self.keep_utterances(dataset)
        self._write_model()

    def keep_utterances(self, dataset: input_pipeline.Dataset) -> None:
        """Writes utterances.csv, which says what each utterance belongs to."""
        names = [dataset.class_names[label] for label in dataset.labels]
        groups = [getattr(dataset.groups, name) for name in input_pipeline.GROUPS]
        table = text_lib.csv_text(
            ["utterance", "class", *input_pipeline.GROUPS],
            zip(
                dataset.ids.tolist(),
                names,
                *map(np.ndarray.tolist, groups),
                strict=True,
            ),
        )
        write_atomically(self.folder / results.UTTERANCES, table)

    def choose(self, run: runs.Run, state: steps.TrainState) -> None:
        """Notes the state of a finished run that is reported and to be used."""
        step = int(state.step)
        folder = checkpoint.weights_folder(self.checkpoints(run.number), step)
        sha256 = weights.digest(steps.variables(state))
        self._choose(run, step // run.steps_per_epoch, folder, sha256)

    def keep_linear(self, run: runs.Run, fitted: dict[str, np.ndarray]) -> None:
        """Keeps what a linear classifier has learnt in a finished run."""
        folder = self.checkpoints(run.number)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.numpy.save_file(fitted, folder / "linear.safetensors")
        self._choose(run, 1, folder, weights.digest(fitted))

    def _choose(
        self, run: runs.Run, epoch: int, folder: pathlib.Path, sha256: str
    ) -> None:
        chosen = {
            "run": run.number,
            "seed": run.seed,
            "fold": run.fold,
            "epoch": epoch,
            "weights": folder.relative_to(self.folder).as_posix(),
            "sha256": sha256,
            "files": results.folder_digest(folder),
            "metrics": results.digest(self.metrics.of_run(run.number)),
            "predictions": results.digest(self.predictions.rows_of(run.number)),
        }
        others = [r for r in self.model["runs"] if r["run"] != run.number]
        self.model["runs"] = sorted([*others, chosen], key=lambda r: r["run"])
        self._write_model()

    def end(self, time: str) -> None:
        """Notes when the training ended."""
        self.model["provenance"]["ended"] = time
        self._write_model()

    def seal(self, report: str) -> None:
        """Notes the digests of all files, also of report.json, before it is written."""
        of_report = hashlib.sha256(report.encode()).hexdigest()
        files = results.digests(self.folder) | {results.REPORT: of_report}
        self.model["files"] = files
        self._write_model()

    def _write_model(self) -> None:
        write_atomically(self.folder / weights.MODEL, results.json_text(self.model))
