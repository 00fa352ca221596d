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

    It keeps the number of its runs, so that it is compared with others run by run;
    those of a fold are equal, and its summary counts each fold once. It has no epochs
    and no embedding.

    Args:
      training: One that reports the last epoch, with several runs of each fold.
    """
    report, count = training.report, seeds(training)
    probabilities = training.probabilities.copy()
    by_fold: dict[str, list[np.ndarray]] = {}
    for run in report["runs"]:
        places = np.flatnonzero(training.runs == run["run"])
        places = places[np.argsort(training.utterances[places])]
        by_fold.setdefault(run["fold"], []).append(places)
    for of_fold in by_fold.values():
        probabilities[np.concatenate(of_fold)] = np.tile(
            np.mean([training.probabilities[places] for places in of_fold], axis=0),
            (len(of_fold), 1),
        )
    averaged = dataclasses.replace(
        training,
        name=f"{training.name}, {count} averaged",
        probabilities=probabilities,
        epochs=[],
        embedding=np.zeros((0, 0)),
        embedding_labels=np.zeros(0, int),
    )
    runs = [_measured(averaged, run) for run in report["runs"]]
    once = list({run["fold"]: run for run in runs}.values())
    ratio = metrics.test_train_ratio(once)
    summary = {
        measure: metrics.summarise([run["last"][measure] for run in once], ratio)
        for measure in metrics.NAMES
    }
    matrix = np.sum([run["confusion_matrix"] for run in once], axis=0)
    told = {
        "runs": runs,
        "confusion_matrix": matrix.tolist(),
        "pooled": metrics.from_confusion(matrix),
        "calibration_error": metrics.calibration_error(training.labels, probabilities),
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
