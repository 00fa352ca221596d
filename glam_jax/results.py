"""Finished trainings, read back from their folders; this needs no JAX."""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep import text
from glam_jax import splits

REPORT = "report.json"  # written last: a folder that has it is finished
MODEL = "model.json"
UTTERANCES = "utterances.csv"
EMBEDDING = "embedding.npz"
# What an epoch is chosen by, in words.
SELECTIONS = {
    "test": "best epoch on the test fold (optimistic)",
    "validation": "best epoch on the validation utterances",
    "last": "last epoch",
}
TRANSDUCTIVE = (
    "transductive: each coefficient is normalised by all recordings of its speaker, "
    "those that test among them"
)
DELETE = "give another --workdir, or delete this one to train again"
# What model.json holds the digests of, once a training is finished.
WRITTEN = ("config.json", "splits.csv", UTTERANCES, "predictions.csv", "metrics.jsonl")
WRITTEN += (EMBEDDING, "report.md", REPORT, "*.png", "*.pdf")


@dataclasses.dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
      name: How tables and figures call it.
      folder: Where it lies.
      report: What report.json holds.
      epochs: The rows of metrics.jsonl.
      runs: (predictions,) int, the run of each prediction.
      utterances: (predictions,) str, the id of the utterance.
      labels: (predictions,) int, its true class.
      probabilities: (predictions, classes).
      groups: What utterances.csv says of each utterance of the data set: speaker,
        content, ..., by id.
      embedding: (utterances, features) of the test utterances of run 0; without rows
        where the network names no embedding.
      embedding_labels: (utterances,) int, their true classes.
    """

    name: str
    folder: pathlib.Path
    report: dict[str, Any]
    epochs: list[dict[str, Any]]
    runs: np.ndarray
    utterances: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    groups: dict[str, dict[str, str]]
    embedding: np.ndarray
    embedding_labels: np.ndarray


def is_model(folder: pathlib.Path) -> bool:
    """Whether a folder holds a trained model, of a training or exported."""
    return (folder / MODEL).is_file()


def read(
    folder: pathlib.Path, report: dict[str, Any] | None = None, name: str = ""
) -> Training:
    """Reads what a finished training left in its folder.

    Args:
      folder: The folder.
      report: What its report.json will hold, where it is not written yet.
      name: How tables and figures are to call it, by default the model's name.

    Raises:
      ValueError: When the training is not finished, or was made by a version of
        glam_jax that left less.
    """
    if report is None:
        report = read_report(folder)
        if other := not_as_written(folder):
            raise ValueError(
                f"{other[0]} is not what was written; the training's command makes it "
                f"again: python -m glam_jax.main --config=... --workdir={folder}"
            )
    for file in (UTTERANCES, "predictions.csv", "metrics.jsonl"):
        if not (folder / file).is_file():
            raise ValueError(
                f"{folder} has no {file}: it was trained by an earlier version of "
                "glam_jax, or the file was deleted. Train again, in another --workdir"
            )
    _, predictions = text.read_csv(folder / "predictions.csv")
    header, described = text.read_csv(folder / UTTERANCES)
    embedding, embedding_labels = np.zeros((0, 0)), np.zeros(0, int)
    if (folder / EMBEDDING).exists():
        with np.load(folder / EMBEDDING) as saved:  # allow_pickle is off
            embedding, embedding_labels = saved["features"], saved["labels"]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    runs = np.array([int(row[1]) for row in predictions])
    labels = np.array([report["classes"].index(row[2]) for row in predictions])
    if len(embedding) and not np.array_equal(
        embedding_labels, labels[runs == runs.min()]
    ):
        raise ValueError(
            f"{folder / EMBEDDING} is not of the test utterances of run 0; delete it, "
            f"and {REPORT}: the command of the training makes both again"
        )
    return Training(
        name=marked(name or report["model"], report),
        folder=folder,
        report=report,
        epochs=[json.loads(line) for line in lines],
        runs=runs,
        utterances=np.array([row[0] for row in predictions]),
        labels=labels,
        probabilities=np.array([row[3:] for row in predictions], float),
        groups={row[0]: dict(zip(header, row, strict=True)) for row in described},
        embedding=embedding,
        embedding_labels=embedding_labels,
    )


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a file of a training.

    Raises:
      ValueError: When it is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "digest" in found:
            rest = {key: value for key, value in found.items() if key != "digest"}
            if found["digest"] != digest([rest]):
                raise ValueError("it is not what was written")
        return found
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; {DELETE}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {DELETE}") from error


def json_text(described: dict[str, Any]) -> str:
    """The text of a file with its own digest, which `read_json` checks."""
    rest = {key: value for key, value in described.items() if key != "digest"}
    rest = json.loads(json.dumps(rest))  # as it is read back
    return json.dumps(rest | {"digest": digest([rest])}, indent=2) + "\n"


def digests(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of each file that a training has written, by its name."""
    paths = [path for pattern in WRITTEN for path in sorted(folder.glob(pattern))]
    return {path.name: _of_file(path) for path in paths}


def folder_digest(folder: pathlib.Path) -> str:
    """The SHA-256 of all files of a folder, with their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    return digest([*zip(names, map(_of_file, files), strict=True)])


def not_as_written(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files and weights of a finished training that are damaged or missing."""
    model = read_json(folder / MODEL)
    files, found = model.get("files", {}), digests(folder)
    other = [folder / name for name in files if files[name] != found.get(name)]
    return other + [
        folder / run["weights"]
        for run in model.get("runs", [])
        if "files" in run and run["files"] != folder_digest(folder / run["weights"])
    ]


def is_whole(folder: pathlib.Path) -> bool:
    """Whether a training is finished, and its files are those this version wrote.

    Raises:
      ValueError: When what the digests stand in is damaged.
    """
    if not (folder / REPORT).is_file() or not_as_written(folder):
        return False
    return is_current(read_json(folder / REPORT))


def _of_file(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(rows: Sequence[Any]) -> str:
    """The SHA-256 of rows of a table or of metrics.jsonl."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_report(folder: pathlib.Path) -> dict[str, Any]:
    """Reads report.json.

    Raises:
      ValueError: When there is none, or it is an earlier version's.
    """
    if not (folder / REPORT).is_file():
        raise ValueError(
            f"{folder} holds no finished training (no {REPORT}); the command that "
            "began it goes on with it: python -m glam_jax.main --config=... "
            f"--workdir={folder}"
        )
    report = read_json(folder / REPORT)
    if not is_current(report):
        raise ValueError(
            f"{folder / REPORT} was written by an earlier version of glam_jax; the "
            "command of the training, given again, writes it anew"
        )
    return report


def is_current(report: dict[str, Any]) -> bool:
    """Whether a report.json has the fields that this version reads."""
    return "utterances" in report.get("splits", {})


def told_apart(trainings: Sequence[Training]) -> list[Training]:
    """The same trainings; those with the same name get the names of their folders."""
    for name in (
        lambda t: t.name,
        lambda t: marked(t.folder.name, t.report),
        lambda t: marked(str(t.folder), t.report),
    ):
        counts = collections.Counter(training.name for training in trainings)
        trainings = [
            dataclasses.replace(t, name=name(t)) if counts[t.name] > 1 else t
            for t in trainings
        ]
    return list(trainings)


def marked(name: str, report: dict[str, Any]) -> str:
    """The name of a row that says whether it knew the tested speakers."""
    knew = TRANSDUCTIVE in report["splits"]["warnings"]
    return f"{name} (transductive)" if knew else name


def subject(report: dict[str, Any]) -> str:
    """What was trained on, and how it was split: 'emodb, protocol paper'.

    A split file is named, with the first digits of its SHA-256. It is said where what
    was tested had trained, and where a model was tested on a corpus that is not its own
    ('urdu, by models of emodb, protocol speaker').
    """
    corpus = report["corpus"]
    if report["tfds_splits"] != ["train"]:
        corpus += " " + "+".join(report["tfds_splits"])
    if "evaluation" in report:
        corpus += f", by models of {report['evaluation']['trained_on']}"
    elif not splits.protocol(report["protocol"]).holds_out:
        corpus += " (tested on what trained)"
    words = f"{corpus}, protocol {report['protocol']}"
    if file := report["splits"]["file"]:
        digest = report["splits"]["file_sha256"][:8]
        words += f", split file {pathlib.PurePath(file).name} ({digest})"
    return text.printable(words)


def epoch(report: dict[str, Any]) -> str:
    """Which epoch a report is of, in words."""
    if "evaluation" in report:
        return "the epoch that the training reports"
    return SELECTIONS[report["selection"]]


def utterances(counts: dict[str, Any]) -> str:
    """'449 of 4481 utterances: 359 train, 90 test', by what `runs.utterances` gives.

    Where runs differ, the fewest and the most of a run are given.
    """
    of = f" of {counts['of']}" if counts["used"] < counts["of"] else ""
    words = {"train": "train", "validation": "validate", "test": "test"}
    parts = [
        f"{' to '.join(map(str, dict.fromkeys(counts[part])))} {verb}"
        for part, verb in words.items()
        if counts[part][1]
    ]
    left_out = f"; {counts['too_short']} shorter than a segment are left out"
    return (
        f"{counts['used']}{of} utterances: {', '.join(parts)}"
        f"{left_out if counts['too_short'] else ''}"
    )


def subjects(trainings: Sequence[Training]) -> str:
    """The different subjects of some trainings."""
    found = [subject(training.report) for training in trainings]
    return "; ".join(dict.fromkeys(found))
