"""Measures: by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from glam_jax import metrics


def test_measures_of_a_small_matrix_by_hand():
    measures = metrics.from_confusion(np.array([[3, 1], [2, 4]]))
    assert measures["wa"] == pytest.approx(70)
    assert measures["ua"] == pytest.approx(100 * (3 / 4 + 4 / 6) / 2)
    first, second = 2 * 3 / (4 + 5), 2 * 4 / (6 + 5)  # F1 of the two classes
    assert measures["macro_f1"] == pytest.approx(100 * (first + second) / 2)
    assert measures["weighted_f1"] == pytest.approx(10 * (4 * first + 6 * second))


@pytest.mark.parametrize("classes_drawn", [4, 3])  # the fourth does not occur
def test_measures_are_scikit_learns(classes_drawn):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes_drawn, 200)
    noise = random.integers(0, classes_drawn, 200)
    predictions = np.where(random.random(200) < 0.6, labels, noise)
    matrix = metrics.confusion_matrix(labels, predictions, 4)
    np.testing.assert_array_equal(
        matrix, sklearn_metrics.confusion_matrix(labels, predictions, labels=range(4))
    )
    f1 = sklearn_metrics.f1_score
    assert metrics.from_confusion(matrix) == pytest.approx(
        {
            "wa": 100 * sklearn_metrics.accuracy_score(labels, predictions),
            "ua": 100 * sklearn_metrics.balanced_accuracy_score(labels, predictions),
            "macro_f1": 100 * f1(labels, predictions, average="macro"),
            "weighted_f1": 100 * f1(labels, predictions, average="weighted"),
        }
    )


def test_no_utterances_are_refused():
    with pytest.raises(ValueError, match="no utterances"):
        metrics.from_confusion(np.zeros((4, 4), int))


def test_summary_by_hand():
    """The interval with Student's t and the corrected error sqrt(1/3 + 1/4) * 4."""
    summary = metrics.summarise([70, 74, 78], test_train_ratio=0.25)
    assert summary["n"] == 3
    assert summary["mean"] == pytest.approx(74)
    assert summary["sd"] == pytest.approx(4)
    assert summary["ci95"] == pytest.approx(4.302653 * 4 * (7 / 12) ** 0.5)


def test_one_run_has_no_spread():
    expected = {"mean": 70, "sd": None, "ci95": None, "n": 1}
    assert metrics.summarise([70.0], test_train_ratio=0.25) == expected


ROWS = [
    {"epoch": 1, "wa": 60, "ua": 50, "validation_wa": 70, "validation_ua": 70},
    {"epoch": 2, "wa": 70, "ua": 60, "validation_wa": 50, "validation_ua": 40},
    {"epoch": 3, "wa": 60, "ua": 70, "validation_wa": 60, "validation_ua": 60},
    {"epoch": 4, "wa": 10, "ua": 10, "validation_wa": 10, "validation_ua": 10},
]


@pytest.mark.parametrize(
    ("selection", "epoch"), [("test", 2), ("validation", 1), ("last", 4)]
)
def test_selected_epoch(selection, epoch):
    """Of equally good epochs (2 and 3 on test) the first."""
    assert metrics.selected(ROWS, selection)["epoch"] == epoch


def test_paired_difference_by_hand():
    """Differences 1, 2, 3: variance 1, corrected error sqrt(1/3 + 1/4)."""
    result = metrics.paired_difference([2, 4, 6], [1, 2, 3], test_train_ratio=0.25)
    assert result["mean"] == pytest.approx(2)
    assert result["ci95"] == pytest.approx(4.30265 * (7 / 12) ** 0.5, rel=1e-5)
    t = 2 / (7 / 12) ** 0.5
    # Two-sided p of Student's t with two degrees of freedom, in closed form.
    assert result["p"] == pytest.approx(1 - t / (2 + t * t) ** 0.5)


def test_a_larger_test_on_another_corpus_does_not_widen_an_interval():
    of_split = [{"test_utterances": 20, "train_utterances": 80}]
    assert metrics.test_train_ratio(of_split) == 0.25
    elsewhere = [{"test_utterances": 5000, "train_utterances": 300}]
    assert metrics.test_train_ratio(elsewhere) == 1


@pytest.mark.parametrize("ours", [[3.0], [3.0, 5.0]])
def test_what_has_no_variance_has_no_interval(ours):
    result = metrics.paired_difference(ours, np.array(ours) - 1, 0.25)
    assert result == {"mean": 1, "ci95": None, "p": None}


def test_calibration_by_hand():
    """Two at 0.95, one of them right, and one at 0.65 that is right."""
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.35, 0.65]])
    labels = np.array([0, 0, 1])
    bins = metrics.calibration(labels, probabilities)
    assert list(bins["count"]) == [0, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert bins["accuracy"][9] == 0.5 and bins["confidence"][9] == pytest.approx(0.95)
    error = metrics.calibration_error(labels, probabilities)
    assert error == pytest.approx(100 * (2 * 0.45 + 0.35) / 3)


def test_certain_predictions_are_in_the_last_bin():
    probabilities = np.array([[1.0, 0.0]])
    assert metrics.calibration_error(np.array([0]), probabilities) == 0


def test_holm_by_hand():
    """Three tests: 3 * 0.01, then 2 * 0.04, and the last is not below it."""
    found = metrics.holm([0.04, None, 0.01, 0.05])
    assert found == [
        pytest.approx(0.08),
        None,
        pytest.approx(0.03),
        pytest.approx(0.08),
    ]
    assert metrics.holm([0.6, 0.7]) == [1, 1] and metrics.holm([]) == []
