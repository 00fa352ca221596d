"""What a person sees while training: the time left, in words."""

import dataclasses
import multiprocessing
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


ROW = {"epoch": 1, "loss": 1.0, "learning_rate": 1e-3, "wa": 50.0, "ua": 50.0}


@pytest.fixture
def all_runs():
    nothing = np.array([], int)
    parts = splits.Split(*[nothing] * 3)
    return [
        runs.Run(k, k, "", parts, nothing, nothing, np.ones(4), steps)
        for k, steps in enumerate((10, 30, 20))
    ]


def shown(all_runs, group, rows, monkeypatch, capsys):
    """The line of an epoch that took ten seconds."""
    monkeypatch.setattr(time, "time", lambda: 100.0)
    progress_shown = progress.Progress(all_runs, num_epochs=2)
    monkeypatch.setattr(time, "time", lambda: 110.0)
    progress_shown.epoch(group, rows)
    return capsys.readouterr().out


def test_time_left_counts_the_steps_of_all_later_runs(all_runs, monkeypatch, capsys):
    row = ROW | {"run": 0, "segments_per_second": 32.0}
    line = shown(all_runs[:2], all_runs[:1], [row], monkeypatch, capsys)
    assert "1 min 10 s left" in line  # a second for each step: 10 + 2 * 30 steps


def test_a_group_shows_the_means_and_the_speed_of_all(all_runs, monkeypatch, capsys):
    rows = [
        ROW | {"run": k, "wa": wa, "segments_per_second": 40.0}
        for k, wa in enumerate((50.0, 60.0))
    ]
    line = shown(all_runs, all_runs[:2], rows, monkeypatch, capsys)
    assert "WA 55.00" in line and "means of 2 runs" in line
    assert "80 segments/s" in line
    assert "20 s left" in line  # 40 steps in 10 s; 40 and 2 * 20 to do


def test_a_training_goes_on_where_tensorboard_cannot_write(
    all_runs, monkeypatch, tmp_path, capsys
):
    pytest.importorskip("tensorboardX")

    def no_semaphore(*args):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(multiprocessing, "Queue", no_semaphore)
    shown = progress.Progress(all_runs, num_epochs=2)
    group = [
        dataclasses.replace(run, split=splits.Split(*[np.arange(2)] * 3))
        for run in all_runs
    ]
    shown.begin_group(group, 0, tmp_path)
    assert "no files for TensorBoard (" in capsys.readouterr().out
    row = ROW | {"run": 0, "segments_per_second": 32.0}
    shown.epoch(group, [row])
    shown.end_group()
