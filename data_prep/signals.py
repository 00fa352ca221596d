"""Signals that end a command: SIGTERM, SIGINT, and SIGUSR1 (sbatch --signal=USR1@60).

What they do depends on where the program is: within `deferred` they are noted, and
the training saves before it stops; elsewhere there is nothing to lose, and it stops.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PREEMPTED = 75  # exit status after a signal, EX_TEMPFAIL: the same command goes on


class Preempted(BaseException):
    """A signal came; what was trained is saved, and the same command goes on.

    No `Exception`: a library that survives those of its own must not survive this one.
    """


def exit_at_once() -> None:
    """From here on these signals end the program; for its imports, which take long."""
    _handle(lambda number, frame: end())


def stop_at_once() -> None:
    """From here on these signals raise `Preempted`, wherever the program is.

    Python ignores what is raised in some places, such as a callback of its garbage
    collector; from there the signal is sent again, until it comes somewhere else.
    """

    def stop(number, frame):
        raise Preempted

    def send_again(ignored):
        if not isinstance(ignored.exc_value, Preempted):
            return sys.__unraisablehook__(ignored)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    _handle(stop)
    sys.unraisablehook = send_again


def ignore() -> None:
    """From here on these signals do nothing: the work is done."""
    _handle(signal.SIG_IGN)


def end() -> None:
    """Ends the program with the status of a signal."""
    print("stopped. The same command goes on.", flush=True)
    os._exit(PREEMPTED)  # XLA's threads, still at work, would crash an orderly exit


def _handle(handler) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """While it is open, these signals make the given function return True.

    A second one of a kind acts as it did before.
    """
    requested = threading.Event()
    previous = {}

    def request(number, frame):
        requested.set()
        signal.signal(number, previous[number])

    for number in SIGNALS:
        previous[number] = signal.signal(number, request)
    try:
        yield requested.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
