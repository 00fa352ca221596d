"""Builds that are stopped or killed, in processes of their own."""

import signal

import pytest
from builds import BUILD, SHORT, ids, left, only_data_set, run, run_script

KILLED_AT_THE_THIRD = f"""
import os, signal
signal_number = getattr(signal, sys.argv.pop(1))
process = os.getpid()
def record(utterance, config, record=builder.record):
    if utterance.id == "09a05Wb":
        os.kill(process, signal_number)
    return record(utterance, config)
builder.record = record
{BUILD}
"""


@pytest.mark.parametrize(
    ("number", "workers"),
    [("SIGTERM", 1), ("SIGTERM", 2), ("SIGINT", 2), ("SIGUSR1", 1)],
)
def test_a_build_that_a_signal_stops_cleans_up(small, tmp_path, number, workers):
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT}
    settings["workers"] = workers
    stopped = run_script(KILLED_AT_THE_THIRD, number, corpus="emodb", **settings)
    assert (stopped.returncode, stopped.stderr) == (75, "")
    assert "The same command goes on" in stopped.stdout
    assert left(tmp_path / "data") == []


def test_a_killed_build_leaves_nothing_that_passes_for_finished(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT, "workers": 1}
    killed = run_script(KILLED_AT_THE_THIRD, "SIGKILL", corpus="emodb", **settings)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "data").rglob("dataset_info.json")) == []

    printed, error = run(corpus="emodb", **settings)
    assert (error, "prepared before" in printed) == ("", False)
    assert len(ids(only_data_set(tmp_path / "data"))) == 4


def test_workers_do_not_outlive_a_killed_build(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT, "workers": 2}
    killed = run_script(KILLED_AT_THE_THIRD, "SIGKILL", corpus="emodb", **settings)
    # The output of a worker that was still there would be waited for.
    assert killed.returncode == -signal.SIGKILL


def test_a_killed_worker_ends_the_build_with_advice(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT, "workers": 2}
    script = KILLED_AT_THE_THIRD.replace("os.kill(process", "os.kill(os.getpid()")
    killed = run_script(script, "SIGKILL", corpus="emodb", **settings)
    advice = "one of 2 workers was killed; is memory short? Try --workers=1"
    assert (killed.returncode, killed.stderr) == (1, f"error: {advice}\n")
    assert left(tmp_path / "data") == []
