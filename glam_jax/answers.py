"""Answers for recordings, line by line: to the terminal, or to a file that resumes."""

import contextlib
import fcntl
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

from data_prep import text

FORMATS = (".csv", ".jsonl")


class Sheet:
    """What is said of recordings, one after the other.

    Beside a file lies FILE.progress until all is said: a line for what is said, and one
    for each recording, with the length of the file after it. A command that was killed
    goes on from there.

    Attributes:
      done: What an earlier command answered, by `key`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        over_time: bool,
        file: IO[str],
        format: str = ".csv",
        progress: IO[str] | None = None,
    ):
        """Begins without lines; see `kept` and `live`.

        Args:
          class_names: The classes, in the order of all probabilities.
          over_time: Whether an answer has a line for each segment.
          file: It receives the lines.
          format: One of `FORMATS`.
          progress: It receives what was answered.
        """
        self._class_names, self._over_time = class_names, over_time
        self._file, self._format, self._progress = file, format, progress
        self.done: set[str] = set()

    def begin(self) -> None:
        """Writes the names of the columns, where the format has them."""
        header = ["file", "emotion", *self._class_names]
        if self._over_time:
            header[1:1] = ["start", "end"]
        else:
            header.append("seconds")
        self._write(None, text.csv_text(header, ()) if self._format == ".csv" else "")

    def add(self, name: str, spans: Any, probabilities: Any, key: str = "") -> None:
        """Says what a model told of a recording.

        Args:
          name: What the lines call it.
          spans: (n, 2), start and end in seconds of each line; n is one for the whole.
          probabilities: (n, classes).
          key: Which recording it is, for a command that goes on.
        """
        lines = [
            self._line(name, float(start), float(end), row.tolist())
            for (start, end), row in zip(spans, probabilities, strict=True)
        ]
        self._write(key, "".join(lines))

    def _line(self, name: str, start: float, end: float, row: list[float]) -> str:
        emotion = self._class_names[row.index(max(row))]
        start, end = round(start, 3), round(end, 3)
        if self._format == ".jsonl":
            first = {"start": start, "end": end} if self._over_time else {}
            last = {} if self._over_time else {"seconds": end}
            rounded = [round(p, 6) for p in row]
            by_class = dict(zip(self._class_names, rounded, strict=True))
            said = {"file": name, **first, "emotion": emotion}
            said |= {"probabilities": by_class, **last}
            return json.dumps(said, ensure_ascii=False) + "\n"
        cells = [name, emotion, *(f"{p:.6f}" for p in row)]
        if self._over_time:
            cells[1:1] = [f"{start:.3f}", f"{end:.3f}"]
        else:
            cells.append(f"{end:.3f}")
        return text.csv_text(cells, ())

    def _write(self, key: str | None, lines: str) -> None:
        self._file.write(lines)
        self._file.flush()
        if self._progress is not None:
            self._progress.write(json.dumps([key, self._file.tell()]) + "\n")
            self._progress.flush()


def check_free(path: pathlib.Path, resumes: bool = True) -> None:
    """Checks that a file can receive answers.

    Args:
      path: The file.
      resumes: Whether an unfinished one can be gone on with.

    Raises:
      ValueError: When its name is none of `FORMATS`, or it is there and finished,
        or cannot be gone on with.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"--out={path}: its name must end with .csv or .jsonl")
    if path.exists() and not (resumes and _progress(path).exists()):
        raise ValueError(f"{path} is there already; delete it, or give another --out")


def _progress(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.progress")


def _printed(class_names: Sequence[str], over_time: bool) -> Sheet:
    """A sheet for the terminal."""
    sheet = Sheet(class_names, over_time, sys.stdout)
    sheet.begin()
    return sheet


@contextlib.contextmanager
def kept(
    path: pathlib.Path | None, class_names: Sequence[str], over_time: bool, asked: Any
) -> Iterator[Sheet]:
    """A sheet in a file, which goes on where a killed command ended.

    Args:
      path: The file, named as one of `FORMATS`; None for the terminal.
      class_names: The classes.
      over_time: Whether an answer has a line for each segment.
      asked: What is asked of which model, for JSON: a command that asks something else
        does not go on.

    Raises:
      ValueError: See `check_free`; or when another command writes the file.
    """
    if path is None:
        yield _printed(class_names, over_time)
        return
    check_free(path)
    beside = _progress(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(beside, "a+", encoding="utf-8") as progress,
        open(path, "a", encoding="utf-8", newline="") as file,
    ):
        try:
            fcntl.flock(progress, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{path} is being written by another command") from error
        sheet = Sheet(class_names, over_time, file, path.suffix, progress)
        _resume(sheet, file, progress, asked)
        yield sheet
        os.unlink(beside)


@contextlib.contextmanager
def live(
    path: pathlib.Path | None, class_names: Sequence[str], over_time: bool
) -> Iterator[Sheet]:
    """A sheet in a new file, for what cannot be heard again; see `kept`.

    The file stays when something ends the recording, unless nothing was said.
    """
    if path is None:
        yield _printed(class_names, over_time)
        return
    check_free(path, resumes=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    _progress(path).unlink(missing_ok=True)  # of a file that was deleted
    with open(path, "x", encoding="utf-8", newline="") as file:
        sheet = Sheet(class_names, over_time, file, path.suffix)
        sheet.begin()
        begun = file.tell()
        try:
            yield sheet
        finally:
            if file.tell() == begun:
                path.unlink()


def _resume(sheet: Sheet, file: IO[str], progress: IO[str], asked: Any) -> None:
    """Goes on with a file, or begins it anew where something else was asked."""
    progress.seek(0)
    stamp = json.dumps(asked)
    begun, *rows = progress.read().split("\n")[:-1] or [""]  # a kill may cut the last
    parsed = [json.loads(row) for row in rows] if begun == stamp else []
    length = parsed[-1][1] if parsed else 0
    goes_on = 0 < length <= os.fstat(file.fileno()).st_size
    progress.truncate(0)
    progress.write("\n".join([stamp, *(rows if goes_on else ()), ""]))
    progress.flush()
    file.truncate(length if goes_on else 0)
    if goes_on:
        sheet.done = {key for key, _ in parsed if key is not None}
    else:
        sheet.begin()
