"""Paths that a user gives, treated alike wherever they are given."""

import os
import pathlib
import re


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
