"""Whose a folder of results is: one config's, and one process's at a time."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Iterator

LOCK = ".lock"
# Fields of a config that say where and how, and do not change the numbers.
WITHOUT_EFFECT = (
    "data_dir",
    "parallel",
    "runs_per_group",
    "input",
    "input_workers",
)


class Held(ValueError):
    """Another process works in a folder."""


@contextlib.contextmanager
def hold(folder: pathlib.Path, patience: float = 1.0) -> Iterator[None]:
    """Keeps a folder to this process while it is open.

    The lock is the operating system's: it ends with the process, however that ends. On
    a file system without locks nothing is kept, and a line says so.

    Args:
      folder: It is made if it is not there.
      patience: Seconds to wait for another process.

    Raises:
      Held: When another process keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+") as file:
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


def owner(folder: pathlib.Path) -> str:
    """Which process keeps a folder: 'process 17 on host'; '' when none does."""
    try:
        with open(folder / LOCK) as file:
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
        print("this file system keeps no locks: train in a folder only once at a time")
    return True
