"""Locks of folders: one process at a time, and none after its end."""

import contextlib
import pathlib
import subprocess
import sys

import pytest

from data_prep import claims
from glam_jax import train

HOLD = """
import pathlib, sys
from data_prep import claims
with claims.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another_process(folder):
    """The process that holds it, until it is killed or its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=pathlib.Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_folder_that_another_process_holds_is_refused_by_its_number(tmp_path):
    with held_by_another_process(tmp_path) as process:
        message = rf"{tmp_path} is in use by process {process.pid} on "
        with (
            pytest.raises(claims.Held, match=message),
            claims.hold(tmp_path, patience=0),
        ):
            pass
        assert claims.owner(tmp_path).startswith(f"process {process.pid} on ")


def test_a_killed_process_holds_nothing(tmp_path):
    with held_by_another_process(tmp_path) as process:
        process.kill()
        process.wait()
        with claims.hold(tmp_path, patience=0):
            pass


def test_patience_waits_for_another_process(tmp_path):
    with held_by_another_process(tmp_path) as process:
        process.stdin.close()  # it ends soon
        with claims.hold(tmp_path, patience=60):
            assert "process" in claims.owner(tmp_path)


def test_a_folder_that_was_given_back_is_free(tmp_path):
    for _ in range(2):
        with claims.hold(tmp_path / "new", patience=0):
            pass
    assert claims.owner(tmp_path / "new") == claims.owner(tmp_path) == ""


def test_an_error_inside_gives_the_folder_back(tmp_path):
    with pytest.raises(ZeroDivisionError), claims.hold(tmp_path):
        raise ZeroDivisionError
    assert claims.owner(tmp_path) == ""


def test_a_training_does_not_touch_the_folder_of_another_process(config, tmp_path):
    with held_by_another_process(tmp_path) as process:
        message = rf"^{tmp_path} is in use by process {process.pid} on .*; wait until"
        with pytest.raises(ValueError, match=message):
            train.train_and_evaluate(config, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [claims.LOCK]
