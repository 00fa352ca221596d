"""What a person sees while training: the time left, in words."""

import dataclasses
import time

import numpy as np
import pytest

from glam_jax import progress, runs, splits


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (185, "3 min 05 s"), (7625, "2 h 07 min")],
)
def test_durations_in_words(seconds, words):
    assert progress.duration(seconds) == words


def test_time_left_counts_the_steps_of_all_later_runs(monkeypatch, capsys):
    nothing = np.array([], int)
    first = runs.Run(0, 0, "", splits.Split(*[nothing] * 3), nothing, nothing, 10)
    second = dataclasses.replace(first, number=1, steps_per_epoch=30)
    monkeypatch.setattr(time, "time", lambda: 100.0)
    shown = progress.Progress([first, second], num_epochs=2)
    monkeypatch.setattr(time, "time", lambda: 110.0)  # a second for each step
    row = {"epoch": 1, "loss": 1.0, "learning_rate": 1e-3, "wa": 50.0, "ua": 50.0}
    shown.epoch(first, row | {"segments_per_second": 32.0})
    assert "1 min 10 s left" in capsys.readouterr().out  # 10 + 2 * 30 steps
