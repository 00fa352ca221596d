"""Splits as files: one row for each utterance, one column for each run."""

import csv
import hashlib
import io
import pathlib
from collections.abc import Sequence

import numpy as np

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
        for part in PARTS:
            table[getattr(split, part), column] = part
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["utterance", *names])
    writer.writerows(
        [name, *row] for name, row in zip(ids, table, strict=True) if any(row)
    )
    return text.getvalue()


def digest(text: str) -> str:
    """The SHA-256 of a split file's text: equal for equal splits (`sha256sum`)."""
    return hashlib.sha256(text.encode()).hexdigest()


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
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Excel writes a BOM
        rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"split file {path} cannot be read ({error})") from error
    if not rows or rows[0][:1] != ["utterance"] or len(rows[0]) < 2:
        raise ValueError(
            f"split file {path}: the first line must be utterance,NAME,... with a "
            "column for each split; python -m glam_jax.splits writes such files"
        )
    if len(set(rows[0])) < len(rows[0]) or "" in rows[0]:
        raise ValueError(f"split file {path}: two columns of one name, or of none")
    for number, row in enumerate(rows, 1):
        bad = set(row[1:]) - {*PARTS, ""} if number > 1 else ()
        if len(row) != len(rows[0]) or bad:
            raise ValueError(
                f"split file {path}, line {number}: {len(rows[0]) - 1} cells of "
                f"{', '.join(PARTS)} or nothing are needed, not {','.join(row[1:])!r}"
            )
    index = {name: number for number, name in enumerate(ids)}
    names = [row[0] for row in rows[1:]]
    if unknown := [name for name in names if name not in index]:
        raise ValueError(
            f"split file {path}: {len(unknown)} utterances are not in the data set as "
            f"this protocol uses it, such as {', '.join(unknown[:3])}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"split file {path} names an utterance twice")
    utterances = np.array([index[name] for name in names], int)
    splits = {}
    for column, name in enumerate(rows[0][1:], 1):
        part_of = np.array([row[column] for row in rows[1:]], str)
        parts = {part: np.sort(utterances[part_of == part]) for part in PARTS}
        for part in ("train", "test"):
            if len(parts[part]) == 0:
                raise ValueError(f"split file {path}: {name} has no {part} utterance")
        splits[name] = Split(**parts)
    return splits
