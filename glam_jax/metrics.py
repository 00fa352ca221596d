"""Utterance predictions -> WA, UA, macro F1, weighted F1, in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special  # importing scipy.stats takes a second

NAMES = ("wa", "ua", "macro_f1", "weighted_f1")
TITLES = {"wa": "WA", "ua": "UA", "macro_f1": "macro F1", "weighted_f1": "weighted F1"}


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> np.ndarray:
    """Counts utterances, (true class, predicted class)."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def from_confusion(matrix: np.ndarray) -> dict[str, float]:
    """Computes the four measures in percent from (true, predicted) counts.

    WA is the accuracy and UA the mean recall. UA and macro F1 average over the classes
    that occur (as label, or for F1 also as prediction), as scikit-learn does. The
    paper's "micro F1" is the weighted F1.

    Raises:
      ValueError: For a matrix without utterances.
    """
    total = matrix.sum()
    if total == 0:
        raise ValueError("no utterances to measure")
    hits = np.diag(matrix)
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    recall = hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return {
        "wa": 100 * float(hits.sum() / total),
        "ua": 100 * float(recall[true > 0].mean()),
        "macro_f1": 100 * float(f1[true + predicted > 0].mean()),
        "weighted_f1": 100 * float((f1 * true).sum() / total),
    }


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Sorts predictions into ten bins of confidence, the largest probability.

    Args:
      labels: (utterances,) true labels.
      probabilities: (utterances, classes).

    Returns:
      (10,) arrays: 'left' edge, 'count' of utterances, mean 'confidence' and
      'accuracy', both from 0 to 1 and zero in an empty bin.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    bins = np.minimum((10 * confidence).astype(int), 9)
    count = np.bincount(bins, minlength=10)
    return {
        "left": np.arange(10) / 10,
        "count": count,
        "confidence": np.bincount(bins, confidence, 10) / np.maximum(count, 1),
        "accuracy": np.bincount(bins, hit, 10) / np.maximum(count, 1),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error in percent (Naeini et al. 2015), with ten bins."""
    bins = calibration(labels, probabilities)
    gaps = np.abs(bins["accuracy"] - bins["confidence"])
    return 100 * float(np.average(gaps, weights=bins["count"]))


def effective(selection: str, row: Mapping[str, float]) -> str:
    """The selection of an epoch that a run can have.

    Args:
      selection: That of the protocol.
      row: The row of metrics.jsonl of any epoch of the run.
    """
    by_validation = selection == "validation"
    return "last" if by_validation and "validation_wa" not in row else selection


def rank(row: Mapping[str, float], selection: str) -> tuple[float, ...]:
    """How good an epoch is: the greatest is the one reported.

    Args:
      row: The epoch's row of metrics.jsonl.
      selection: 'last', or the best (WA + UA) / 2 on 'test' or 'validation', the
        earlier of equal ones; the last where no utterance validates.
    """
    if effective(selection, row) == "last":
        return (row["epoch"],)
    prefix = "validation_" if selection == "validation" else ""
    return (row[prefix + "wa"] + row[prefix + "ua"]) / 2, -row["epoch"]


def selected(rows: Sequence[dict], selection: str) -> dict:
    """The epoch of a run that is reported, see `rank`."""
    return max(rows, key=lambda row: rank(row, selection))


def summarise(
    values: Sequence[float], test_train_ratio: float
) -> dict[str, float | int | None]:
    """Mean, standard deviation, half the 95 % interval of the mean, and n.

    The interval allows for runs that share data, see `paired_difference`. The sd
    (n - 1) and the interval of a single run are None.

    Args:
      values: A measure of each run.
      test_train_ratio: Test utterances for each training utterance.
    """
    n, sd, ci95 = len(values), None, None
    if n > 1:
        sd = float(np.std(values, ddof=1))
        ci95 = float(_t_quantile(n) * _error(values, test_train_ratio))
    return {"mean": float(np.mean(values)), "sd": sd, "ci95": ci95, "n": n}


def _t_quantile(n: int) -> float:
    """What 97.5 % of Student's t of n values stay below."""
    return special.stdtrit(n - 1, 0.975)


def _error(values: Sequence[float] | np.ndarray, test_train_ratio: float) -> float:
    """Standard error of the mean of runs that share data (Nadeau & Bengio 2003).

    Resampled runs underestimate the variance of their mean by 1/n; 1/n + test/train
    stands in its place.
    """
    return np.sqrt((1 / len(values) + test_train_ratio) * np.var(values, ddof=1))


def test_train_ratio(runs: Sequence[Mapping[str, int]]) -> float:
    """Test utterances for each training utterance, the mean over a report's runs.

    At most 1: the runs of a test on another corpus do not share more data for its size.
    """
    ratio = np.mean([run["test_utterances"] / run["train_utterances"] for run in runs])
    return min(1.0, float(ratio))


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], test_train_ratio: float
) -> dict[str, Any]:
    """Compares two models by runs on the same splits: a corrected resampled t-test.

    The error of the mean is that of Nadeau & Bengio (2003), since runs share data.

    Args:
      ours: A measure of each run.
      theirs: The same of the other model's run on the same split.
      test_train_ratio: Test utterances for each training utterance.

    Returns:
      'mean' of ours - theirs, 'ci95' (half the interval) and two-sided 'p'; None for
      what a single run, or differences without any variance, cannot tell.
    """
    differences = np.subtract(ours, theirs)
    result: dict[str, float | None]
    result = {"mean": float(differences.mean()), "ci95": None, "p": None}
    n = len(differences)
    if n < 2 or np.ptp(differences) < 1e-9:  # equal but for rounding
        return result
    error = _error(differences, test_train_ratio)
    t = abs(differences.mean()) / error
    result["ci95"] = float(_t_quantile(n) * error)
    result["p"] = float(2 * special.stdtr(n - 1, -t))
    return result


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p of several tests, adjusted so that all together err as one (Holm 1979).

    Args:
      p_values: That of each test; None for one that tells nothing, and stays None.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted
