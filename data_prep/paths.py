"""Paths that a user gives, treated alike wherever they are given."""

import contextlib
import errno
import os
import pathlib
import re
from collections.abc import Iterator, Sequence


def local(path: str | os.PathLike, what: str) -> pathlib.Path:
    """A path on this machine; '~' is the user's home.

    Args:
      path: What was given.
      what: The flag or field that it was given for, for an error.

    Raises:
      ValueError: For an address such as gs://bucket, or a '~' without a home.
    """
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):
        raise ValueError(
            f"{what}={path}: {scheme[0]}/ is not read or written from here. Mount it "
            "as a folder (a bucket by gcsfuse or s3fs) and give that"
        )
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{what}={path}: this user has no home") from error


def make_room(flag: str) -> str:
    """What to do when a disk is full, where a flag names the folder."""
    return f"make room, or give another {flag}; the same command goes on"


class DiskFull(ValueError):
    """There is no room left where something is to be written."""


@contextlib.contextmanager
def written(folder: pathlib.Path, advice: str) -> Iterator[None]:
    """While it is open, whatever is raised about a full disk names the folder.

    Args:
      folder: Where is written.
      advice: What to do when it is full.

    Raises:
      DiskFull: When its disk, or the user's share of it, is full.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not tells_of(error, (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise DiskFull(f"the disk of {folder} is full: {advice}") from error


def tells_of(error: BaseException | None, numbers: Sequence[int]) -> bool:
    """Whether an error, or one that it arose from, is one of the system's.

    Args:
      error: The error; libraries have their own kinds, with the system's words in them.
      numbers: Of `errno`.
    """
    words = [os.strerror(number) for number in numbers]
    while error:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
