"""How commands begin and end: flags, what a person sees, and the exit status."""

import contextlib
import io
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags, logging

from data_prep import signals, text

# What a user can cause or mend is told by one of these; its text is the sentence.
_EXPECTED = (OSError, ValueError, FloatingPointError)

_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; what is wrong with them ends in a line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(f"{str(error).strip().splitlines()[-1].strip()} (--help explains)")


def refuse(reason: str) -> NoReturn:
    """Ends the program with a reason."""
    sys.exit("error: " + "\n".join(map(text.printable, reason.split("\n"))))


def run_by_flags(argv: Sequence[str], work: Callable[[], None]) -> None:
    """Runs a command that has flags and no arguments; see `run`."""
    if len(argv) > 1:
        refuse(f"arguments not understood: {' '.join(argv[1:])}")
    run(work)


def run(work: Callable[[], None]) -> None:
    """Calls `work`; what a user can cause or mend ends in a line and a status."""
    signals.stop_at_once()
    debug = flags.FLAGS.is_parsed() and _DEBUG.value
    if not debug:  # libraries tell what they do, and each error many times
        logging.set_verbosity(logging.FATAL)
        sys.unraisablehook = _of_main_thread(sys.unraisablehook)
    if isinstance(sys.stdout, io.TextIOWrapper):
        with contextlib.suppress(OSError):  # where it cannot be done any more
            sys.stdout.reconfigure(errors="backslashreplace")  # for a corpus's letters
    try:
        work()
    except signals.Preempted:
        signals.end()
    except Exception as error:
        if debug:
            raise
        refuse(_sentence(error))
    signals.ignore()


def _of_main_thread(hook: Callable) -> Callable:
    """`hook`, but not for the threads of libraries: the main thread is told too."""

    def show(error: "sys.UnraisableHookArgs") -> None:
        if threading.current_thread() is threading.main_thread():
            hook(error)

    return show


def _sentence(error: Exception) -> str:
    """An error in one line, of whatever library."""
    text = str(error)
    if isinstance(error, _EXPECTED):
        return text
    first = text.strip().splitlines()[0].strip() if text.strip() else "no message"
    return f"{first} ({type(error).__name__}; --debug shows where)"
