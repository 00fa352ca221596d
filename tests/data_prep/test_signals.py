"""Signals that come at a bad moment."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc, os, signal, time
from data_prep import command

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        time.sleep(0.01)  # the handler runs here, where what is raised is ignored

def collect(phase, info):
    gc.callbacks.remove(collect)
    os.kill(os.getpid(), signal.{number})
    time.sleep(0.01)

def work():
    {moment}
    for _ in range(300):
        time.sleep(0.1)
    print("the signal was lost")

command.run(work)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGUSR1"])
@pytest.mark.parametrize(
    "moment", ["Dying()", "gc.callbacks.append(collect); gc.collect()"]
)
def test_a_signal_is_not_lost_where_exceptions_are_ignored(number, moment):
    script = SCRIPT.format(number=number, moment=moment)
    stopped = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert stopped.returncode == 75, stopped.stderr
    assert stopped.stdout == "stopped. The same command goes on.\n"
    assert stopped.stderr == ""


IN_A_THREAD = """
import threading
from data_prep import command

class Closed:
    def __del__(self):
        raise RuntimeError("Event loop is closed")

def work():
    thread = threading.Thread(target=Closed)
    thread.start()
    thread.join()
    raise ValueError("the disk is full")

command.run(work)
"""


def test_what_a_librarys_thread_cannot_raise_does_not_hide_the_reason():
    failed = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True, timeout=60
    )
    assert failed.returncode == 1
    assert failed.stderr == "error: the disk is full\n"
