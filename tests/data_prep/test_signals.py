"""Signals stop a program at once, or are noted where work is saved first."""

import os
import signal
import subprocess
import sys

import pytest

from data_prep import signals

ALL = pytest.mark.parametrize("number", signals.SIGNALS, ids=lambda n: n.name)


@pytest.fixture(autouse=True)
def handlers():
    kept = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@ALL
def test_a_signal_stops_at_once(number):
    signals.stop_at_once()
    with pytest.raises(signals.Preempted):
        os.kill(os.getpid(), number)


@ALL
def test_a_deferred_signal_is_noted_and_a_second_one_acts(number):
    signals.stop_at_once()
    with signals.deferred() as requested:
        assert not requested()
        os.kill(os.getpid(), number)
        assert requested()
        with pytest.raises(signals.Preempted):
            os.kill(os.getpid(), number)


@ALL
def test_a_signal_while_modules_are_imported_ends_with_the_same_status(number):
    script = (
        "import os, signal; from data_prep import signals; signals.exit_at_once()\n"
        f"os.kill(os.getpid(), signal.{number.name})"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert (ended.returncode, ended.stderr) == (75, b"")


@ALL
def test_a_command_that_a_signal_stops_ends_with_its_own_status(number):
    script = (
        "import os, signal; from data_prep import command\n"
        f"command.run(lambda: os.kill(os.getpid(), signal.{number.name}))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert ended.returncode == 75
    assert b"The same command goes on" in ended.stdout
