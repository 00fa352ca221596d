"""Classes that a run tests and never trains, or never tests, are said."""

import numpy as np

from glam_jax.splits import Split, gaps

LABELS = np.array([0, 0, 0, 1, 1, 2])
NONE = np.zeros(0, int)


def test_each_gap_is_a_sentence_with_its_runs():
    splits = {
        "seed0": Split(np.array([0, 3]), NONE, np.array([1, 4, 5])),
        "seed1": Split(np.array([0, 3, 5]), NONE, np.array([1, 4])),
    }
    assert gaps.find(splits, LABELS, ["neutral", "sad", "angry"]) == [
        "class angry is tested, but no utterance of it trains, in 1 of 2 runs (seed0)",
        "class angry is not tested, in 1 of 2 runs (seed1)",
    ]


def test_where_every_class_is_on_both_sides_nothing_is_said():
    split = Split(np.array([0, 3, 5]), NONE, np.array([1, 4, 5]))
    assert gaps.find({"seed0": split}, LABELS, ["neutral", "sad", "angry"]) == []
