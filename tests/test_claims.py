"""Locks of folders: one process at a time, and none after its end."""

import contextlib
import errno
import fcntl
import json
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


@pytest.fixture
def without_locks(monkeypatch):
    """A file system such as NFS without its lock daemon."""

    def flock(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_where_there_are_no_locks_a_claim_keeps_a_folder(tmp_path, without_locks):
    with claims.hold(tmp_path):
        message = rf"in use by process \d+ on .* delete {tmp_path}/\.lock\.claim"
        with (
            pytest.raises(claims.Held, match=message),
            claims.hold(tmp_path, patience=0),
        ):
            pass
        assert claims.owner(tmp_path).startswith("process ")
    assert claims.owner(tmp_path) == ""


@pytest.mark.parametrize("left", [{"process": 2**22 + 1}, {"process": 1}])
def test_a_claim_of_a_dead_process_is_replaced(tmp_path, without_locks, left):
    """Also where another process has its number now."""
    with claims.hold(tmp_path):
        ours = json.loads((tmp_path / ".lock.claim").read_text())
    (tmp_path / ".lock.claim").write_text(json.dumps(ours | left))
    with claims.hold(tmp_path, patience=0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [claims.LOCK]


def test_a_claim_of_another_machine_is_left_alone(tmp_path, without_locks):
    claim = {"process": 17, "host": "node7", "since": "2026-01-01 00:00:00"}
    (tmp_path / ".lock.claim").write_text(json.dumps(claim))
    message = "process 17 on node7 since 2026-01-01 00:00:00 UTC; .* delete"
    with pytest.raises(claims.Held, match=message), claims.hold(tmp_path, patience=0):
        pass


def test_a_training_does_not_touch_the_folder_of_another_process(config, tmp_path):
    with held_by_another_process(tmp_path) as process:
        message = rf"^{tmp_path} is in use by process {process.pid} on .*; wait until"
        with pytest.raises(ValueError, match=message):
            train.train_and_evaluate(config, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [claims.LOCK]
