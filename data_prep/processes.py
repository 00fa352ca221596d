"""Work shared out over the cores of this machine."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any


def in_order(
    function: Callable[[Any], Any], items: Iterable, workers: int, chunk: int = 1
) -> Iterator:
    """Applies a function to each item, like `map`, in several processes.

    Args:
      function: It takes one item; it is pickled, as the items and the results are.
      items: What to apply it to.
      workers: Processes; with one, the work is done in this process.
      chunk: Items that a process takes at a time.

    Yields:
      The results, in the order of the items.

    Raises:
      ChildProcessError: When something else ended a process.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Forked on Linux, which takes no time: a new interpreter imports for 2 s.
    method = "fork" if sys.platform == "linux" else None
    context = multiprocessing.get_context(method)
    try:
        executor = ProcessPoolExecutor(workers, context, _start)
    except OSError as error:
        raise ChildProcessError(
            f"no worker processes can be made here ({error.strerror}; is there a "
            "/dev/shm?): give --workers=1"
        ) from error
    try:
        with executor as pool:
            yield from pool.map(function, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"one of {workers} workers was killed; is memory short? Try --workers=1"
        ) from error


def _start() -> None:
    """Makes a worker end when its parent ends it, or is no more."""
    for for_the_parent in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(for_the_parent, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
