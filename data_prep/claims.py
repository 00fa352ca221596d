"""Who works in a folder: one process at a time."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Iterator

LOCK = ".lock"


class Held(ValueError):
    """Another process works in a folder."""


@contextlib.contextmanager
def hold(folder: pathlib.Path, patience: float = 1.0, lock: str = LOCK) -> Iterator:
    """Keeps a folder to this process while it is open.

    The lock is the operating system's: it ends with the process, however that ends. On
    a file system without locks nothing is kept, and a line says so.

    Args:
      folder: It is made if it is not there.
      patience: Seconds to wait for another process.
      lock: The name of the file that is locked.

    Raises:
      Held: When another process keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / lock, "a+") as file:
        deadline = time.monotonic() + patience
        while not _lock(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise Held(
                    f"{folder} is in use by {_owner(file)}; wait until it ends, or "
                    "stop it"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def wait_for(folder: pathlib.Path, what: str, lock: str = LOCK) -> Iterator:
    """Keeps a folder to this process, once all others are done with it.

    Args:
      folder: It is made if it is not there.
      what: What others do there, for the line that says who is waited for.
      lock: The name of the file that is locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder, 0.2, lock))
        except Held:
            print(f"waiting: {what} by {owner(folder, lock)}", flush=True)
            stack.enter_context(hold(folder, float("inf"), lock))
        yield


def owner(folder: pathlib.Path, lock: str = LOCK) -> str:
    """Which process keeps a folder: 'process 17 on host'; '' when none does."""
    try:
        with open(folder / lock) as file:
            return "" if _lock(file.fileno(), fcntl.LOCK_SH) else _owner(file)
    except FileNotFoundError:
        return ""


def _owner(file) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def _lock(descriptor: int, kind: int) -> bool:
    """Tries to lock an open file, until it is closed."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        print("this file system keeps no locks: use a folder only once at a time")
    return True
