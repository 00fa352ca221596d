"""Splits as files: one row for each utterance, one column for each run."""

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from data_prep import paths, text
from glam_jax.splits import Split

PARTS = ("train", "validation", "test")  # what a cell may hold; '' is neither


def to_csv(ids: np.ndarray, names: Sequence[str], splits: Sequence[Split]) -> str:
    """Writes which utterance is in which part of which split.

    Args:
      ids: (utterances,) sorted; one that no split uses gets no row.
      names: of the columns, which differ.
      splits: of the columns.
    """
    table = np.full((len(ids), len(names)), "", dtype=object)
    for column, split in enumerate(splits):
        for part in reversed(PARTS):  # what trains and tests, trains
            table[getattr(split, part), column] = part
    rows = ([name, *row] for name, row in zip(ids, table, strict=True) if any(row))
    return text.csv_text(["utterance", *names], rows)


def digest(written: str) -> str:
    """The SHA-256 of a split file's text: equal for equal splits (`sha256sum`)."""
    return hashlib.sha256(written.encode()).hexdigest()


def file_digest(path: str) -> str:
    """The SHA-256 of a split file that was given; '' where none was."""
    if not path:
        return ""
    file = paths.local(path, "config.split_file")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read(path: pathlib.Path, ids: np.ndarray) -> dict[str, Split]:
    """Reads a split file; utterances that it does not name are not used.

    Args:
      path: of the file.
      ids: (utterances,) of the data set, sorted.

    Returns:
      The splits by the names of their columns.

    Raises:
      ValueError: when it is not such a file, or names utterances that are not there.
    """
    try:
        header, rows = text.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"split file {path} cannot be read ({error})") from error
    if header[:1] != ["utterance"] or len(header) < 2:
        raise ValueError(
            f"split file {path}: the first line must be utterance,NAME,... with a "
            "column for each split; python -m glam_jax.split writes such files"
        )
    if len(set(header)) < len(header) or "" in header:
        raise ValueError(f"split file {path}: two columns of one name, or of none")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header) or set(row[1:]) - {*PARTS, ""}:
            raise ValueError(
                f"split file {path}, line {number}: {len(header) - 1} cells of "
                f"{', '.join(PARTS)} or nothing are needed, not {','.join(row[1:])!r}"
            )
    index = {name: number for number, name in enumerate(ids)}
    names = [row[0] for row in rows]
    if unknown := [name for name in names if name not in index]:
        raise ValueError(
            f"split file {path}: {len(unknown)} utterances are not in the data set as "
            f"this protocol uses it, such as {', '.join(unknown[:3])}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"split file {path} names an utterance twice")
    utterances = np.array([index[name] for name in names], int)
    splits = {}
    for column, name in enumerate(header[1:], 1):
        part_of = np.array([row[column] for row in rows], str)
        parts = {part: np.sort(utterances[part_of == part]) for part in PARTS}
        for part in ("train", "test"):
            if len(parts[part]) == 0:
                raise ValueError(f"split file {path}: {name} has no {part} utterance")
        splits[name] = Split(**parts)
    return splits
