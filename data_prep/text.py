"""Files written in one step, and CSV that brings any text back."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

# What a spreadsheet runs as a formula, and what looks like it once it is guarded.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a file in one step: a reader sees the old text or the new."""
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file in one step: a reader sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.incomplete")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV file, which a spreadsheet may open.

    Args:
      header: The names of the columns.
      rows: Cells of any kind; None is an empty one. A text that a spreadsheet would run
        as a formula gets an apostrophe before it, which `read_csv` removes.
    """
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in [header, *rows]:
        cells = [_guarded(cell) for cell in row]
        # Python 3.11 does not see that a carriage return needs quotes.
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoted if has_return else plain).writerow(cells)
    return text.getvalue()


def read_csv(path: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    """Reads a CSV file: its header, and its rows without those that are empty.

    Raises:
      ValueError: When it is no such file. It names the file.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # Excel writes a BOM
            rows = [
                [_unguarded(cell) for cell in row] for row in csv.reader(file) if row
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    return (rows[0], rows[1:]) if rows else ([], [])


def printable(text: Any) -> str:
    """A text for a terminal: control characters and stray bytes are escapes.

    Args:
      text: A text or a path, such as the name of a file.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def _guarded(cell: Any) -> Any:
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell
