"""The runs of a fold with other seeds as one model: the mean of their probabilities."""

import collections
import dataclasses
from typing import Any

import numpy as np

from glam_jax import metrics
from glam_jax.results import Training


def seeds(training: Training) -> int:
    """How many runs each fold has; 1 where runs have no folds, or not all as many."""
    counts = collections.Counter(run.get("fold", "") for run in training.report["runs"])
    numbers = set(counts.values())
    return 1 if "" in counts or len(numbers) > 1 else numbers.pop()


def of_folds(training: Training) -> Training:
    """A training whose runs of a fold have been averaged.

    It has a run for each fold, no epochs and no embedding.

    Args:
      training: One that reports the last epoch, with several runs of each fold.
    """
    report = training.report
    by_fold: dict[str, list[np.ndarray]] = {}
    once: dict[str, dict[str, Any]] = {}
    for run in report["runs"]:
        places = np.flatnonzero(training.runs == run["run"])
        places = places[np.argsort(training.utterances[places])]
        by_fold.setdefault(run["fold"], []).append(places)
        once.setdefault(run["fold"], run)
    kept = np.concatenate([places for places, *_ in by_fold.values()])
    averaged = dataclasses.replace(
        training,
        name=f"{training.name}, {seeds(training)} averaged",
        epochs=[],
        runs=training.runs[kept],
        utterances=training.utterances[kept],
        labels=training.labels[kept],
        probabilities=np.concatenate(
            [
                np.mean([training.probabilities[places] for places in of_fold], axis=0)
                for of_fold in by_fold.values()
            ]
        ),
        embedding=np.zeros((0, 0)),
        embedding_labels=np.zeros(0, int),
    )
    runs = [_measured(averaged, run) for run in once.values()]
    ratio = metrics.test_train_ratio(runs)
    summary = {
        measure: metrics.summarise([run["last"][measure] for run in runs], ratio)
        for measure in metrics.NAMES
    }
    matrix = np.sum([run["confusion_matrix"] for run in runs], axis=0)
    told = {
        "runs": runs,
        "confusion_matrix": matrix.tolist(),
        "pooled": metrics.from_confusion(matrix),
        "calibration_error": metrics.calibration_error(
            averaged.labels, averaged.probabilities
        ),
        "summary": dict.fromkeys(report["summary"], summary),
    }
    return dataclasses.replace(averaged, report=report | told)


def _measured(training: Training, run: dict[str, Any]) -> dict[str, Any]:
    """A run with the measures of the training's probabilities."""
    of_run = training.runs == run["run"]
    matrix = metrics.confusion_matrix(
        training.labels[of_run],
        training.probabilities[of_run].argmax(axis=1),
        len(training.report["classes"]),
    )
    last = run["last"] | metrics.from_confusion(matrix)
    return run | {"last": last, "selected": last, "confusion_matrix": matrix.tolist()}
