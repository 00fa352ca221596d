"""Tables as people save them: CSV or TSV of any delimiter, with or without a mark."""

import csv
import dataclasses
import io
import pathlib
from typing import Any

from data_prep import text

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_NO_TEXT = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1")  # .xlsx, .xls, parquet


@dataclasses.dataclass(frozen=True)
class Table:
    """The text of a table.

    Attributes:
      delimiter: What stands between its cells, a key of `DELIMITERS`.
      header: The names of its columns.
      rows: The number of the first line and the cells of each row below, as they stand;
        empty rows are left out.
    """

    delimiter: str
    header: list[str]
    rows: list[tuple[int, list[str]]]


def read(path: pathlib.Path) -> Table:
    """Reads a table; what separates its cells is found in the first line.

    Args:
      path: The file, in UTF-8, or in UTF-16 with its mark.

    Raises:
      ValueError: When it is no such table; the sentence names the file and the line.
    """
    content = _decode(path)
    first = next((line for line in content.splitlines() if line.strip()), "")
    widths = {}
    for delimiter in DELIMITERS:
        widths[delimiter] = len(next(csv.reader([first], delimiter=delimiter), []))
    delimiter = max(widths, key=lambda d: widths[d])  # the first of equal ones
    try:
        rows = _rows(path, content, delimiter, csv.QUOTE_MINIMAL)
    except ValueError:
        if delimiter != "\t":
            raise
        # In tables with tabs, quotes are often a part of the text.
        rows = _rows(path, content, delimiter, csv.QUOTE_NONE)
    if delimiter == "\t" and any("\n" in cell for _, row in rows for cell in row):
        # A quotation that goes on in another row took the rows between for its text,
        # where each line is a row by itself.
        lines = _rows(path, content, delimiter, csv.QUOTE_NONE)
        if len({len(cells) for _, cells in lines}) == 1:
            rows = lines
    if not rows:
        raise ValueError(f"{path} is empty: a header and rows are needed")
    (_, header), *rows = rows
    _warn_of_open_quotes(path, rows, delimiter, len(header))
    return Table(delimiter, [name.strip() for name in header], rows)


def _warn_of_open_quotes(
    path: pathlib.Path, rows: list[tuple[int, list[str]]], delimiter: str, width: int
) -> None:
    """Says where a quoted cell goes on over what looks like rows."""
    for number, cells in rows:
        further = [line for cell in cells for line in cell.splitlines()[1:]]
        if any(width > 1 and line.count(delimiter) >= width - 1 for line in further):
            print(
                f"warning: {text.printable(path)}, line {number}: a cell goes on for "
                f"{len(further)} lines, which look like rows: is a quotation mark left "
                "open?"
            )


def _decode(path: pathlib.Path) -> str:
    data = path.read_bytes()
    if data.startswith(_NO_TEXT):
        raise ValueError(f"{path} is no text: save the table as CSV in UTF-8")
    encoding = next((e for mark, e in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-16":
        print(f"{text.printable(path)} is UTF-16, and read as such")
    elif b"\0" in data:
        raise ValueError(
            f"{path} is no text in UTF-8 (UTF-16 without its mark?): save the table as "
            "CSV in UTF-8"
        )
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: no text in {encoding.upper()} ({error.reason}): "
            "save the table as CSV in UTF-8"
        ) from error


def _rows(
    path: pathlib.Path, content: str, delimiter: str, quoting: Any
) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(content, newline=""),
        delimiter=delimiter,
        quoting=quoting,
        strict=True,
    )
    rows, number = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((number, cells))
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}: the row that begins in line {number} is not CSV ({error}): "
            'within a quoted cell a quote is written twice ("")'
        ) from error
    return rows
