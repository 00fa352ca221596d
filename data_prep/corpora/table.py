"""A corpus of one's own: a table with a row for each utterance, or class folders."""

import dataclasses
import itertools
import math
import os
import pathlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from data_prep import corpora, delimited, text

FOLDERS = "folders"  # as the table: a folder's name is the emotion of what is in it
# What a column may tell, and how else it is called; case, blanks and signs aside.
COLUMNS: dict[str, tuple[str, ...]] = {
    "file": (
        *("path", "filename", "filepath", "fileid", "wav", "wavfile", "wavpath"),
        *("audio", "audiofile", "audiopath", "audiofilepath", "fname", "recording"),
        *("sound", "soundfile", "clip", "name", "id"),
    ),
    "emotion": (
        *("label", "emotionlabel", "emotionclass", "emo", "class", "category"),
        *("classlabel", "target"),
    ),
    "speaker": (
        *("speakerid", "speakername", "spk", "spkid", "spkr", "actor", "actorid"),
        *("subject", "subjectid", "participant", "participantid", "clientid"),
    ),
    "session": ("sessionid",),
    "dialogue": ("dialog", "dialogueid", "dialogid", "conversation", "conversationid"),
    "text": (
        *("sentence", "sentenceid", "textid", "statement", "transcript"),
        *("transcription", "prompt", "utterance"),
    ),
    "kind": (),
    "intensity": ("emotionintensity", "emotionalintensity", "emotionlevel"),
    "split": ("subset", "partition"),
    "start": ("starttime", "startseconds", "starts", "begin", "onset"),
    "end": ("endtime", "endseconds", "ends", "stop"),
    "duration": ("dur", "durationseconds"),  # of the part that starts at `start`
}
NEEDED = ("file", "emotion")
# Rows of a table by line number: their cells by what they tell, or why they have none.
_Rows = list[tuple[int, dict[str, str] | str]]
# The words for the parts of a split; their case does not count.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_OF_SOUND = ("file", "start", "end", "duration")  # the columns that name no label
# What tells whom an utterance shares something with, and words for not knowing it.
_GROUPS = ("speaker", "session", "dialogue", "text")
_UNKNOWN = ("nan", "none", "null", "na", "n/a", "unknown", "?", "-")
_NO_FILE = "there is no file"


@dataclasses.dataclass(frozen=True)
class Labels:
    """Where the labels of a corpus of one's own stand.

    Attributes:
      path: The table, or `FOLDERS`.
      columns: The name of a column, by what it tells; what is not named is guessed, and
        '' is no column.
    """

    path: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """['file:path', 'emotion:label'] -> {'file': 'path', 'emotion': 'label'}.

    Raises:
      ValueError: For a word of another form, or what no column tells.
    """
    columns: dict[str, str] = {}
    for word in words:
        what, colon, name = (part.strip() for part in word.partition(":"))
        if not colon or what not in COLUMNS or what in columns:
            raise ValueError(
                f"--columns: {word!r} is not of the form WHAT:COLUMN, with each WHAT "
                f"once and one of {', '.join(COLUMNS)}; for example "
                "--columns=file:path,emotion:label"
            )
        columns[what] = name
    return columns


def read(labels: Labels, source: str | pathlib.Path | None) -> corpora.Corpus:
    """Lists the utterances of a table, or of class folders.

    Args:
      labels: Where the labels stand.
      source: The folder that the files' paths start from; None for the table's.

    Raises:
      ValueError: When there is no such table or folder, it cannot be read, or nothing
        in it can be used; the sentence says what to do.
    """
    if labels.path == FOLDERS:
        if not source:
            raise ValueError("--labels=folders needs --source: the folder they are in")
        return _read_folders(corpora.existing_folder(source), labels.columns)
    path = pathlib.Path(labels.path).expanduser()
    if not path.is_file():
        raise ValueError(
            f"--labels: there is no file {path.absolute()}; give the table, or "
            "--labels=folders where a folder's name is the emotion"
        )
    folder = _root(path, source)
    rows = _rows(path, labels.columns, NEEDED)
    utterances, problems = _utterances(path, rows, folder, NEEDED)
    lost = [problem for problem in problems if problem.reason.startswith(_NO_FILE)]
    if lost and not utterances:
        raise ValueError(
            f"{path}: no file that it names is there ({lost[0].path}: "
            f"{lost[0].reason}); --source=FOLDER says where the paths start from"
        )
    once, twice = _each_once(utterances)
    words = Counter(row["emotion"] for _, row in rows if isinstance(row, dict))
    warnings = [
        *_spellings(words),
        *_groups_in_doubt(once),
        *_dialogues_in_doubt(once),
        *_gaps(once),
        *_overlaps(once),
        *_not_named(utterances, path.name, folder),
    ]
    return _corpus(once, problems + twice, warnings)


def recordings(
    path: pathlib.Path,
    source: str | pathlib.Path | None,
    columns: Mapping[str, str] | None = None,
) -> corpora.Corpus:
    """Lists what a table names, in its order, whether or not it tells emotions.

    Args:
      path: The table; a column tells files, others may tell start and end.
      source: The folder that the files' paths start from; None for the table's.
      columns: See `Labels`.

    Raises:
      ValueError: When it is no such table.
    """
    needed = ("file",)
    labels = dict.fromkeys(COLUMNS.keys() - {*_OF_SOUND}, "")
    rows = _rows(path, labels | dict(columns or {}), needed)
    return corpora.Corpus(*_utterances(path, rows, _root(path, source), needed))


def _root(path: pathlib.Path, source: str | pathlib.Path | None) -> pathlib.Path:
    folder = corpora.existing_folder(source) if source else path.parent
    return folder.absolute()


def _utterances(
    path: pathlib.Path,
    rows: _Rows,
    folder: pathlib.Path,
    needed: Sequence[str],
) -> tuple[list[corpora.Utterance], list[corpora.Problem]]:
    """The utterances of rows, in their order, and what is wrong with the others."""
    utterances, problems = [], []
    for number, row in rows:
        place = f"{path.name}, line {number}"
        try:
            utterances.append(_utterance(row, folder, place, needed))
        except ValueError as error:
            problems.append(corpora.Problem(place, str(error)))
    return utterances, problems


def _corpus(
    utterances: Iterable[corpora.Utterance],
    problems: list[corpora.Problem],
    warnings: Sequence[str],
) -> corpora.Corpus:
    in_order = sorted(utterances, key=lambda utterance: utterance.id)
    return corpora.Corpus(in_order, problems, tuple(warnings))


def _read_folders(source: pathlib.Path, columns: Mapping[str, str]) -> corpora.Corpus:
    if columns:
        raise ValueError("--columns names the columns of a table; folders have none")
    utterances, problems = [], []
    sounds, others = corpora.below(source)
    for path in sounds:
        id_ = path.relative_to(source).as_posix()
        reason = ""
        if path.parent == source:
            reason = "lies in no folder that names its emotion"
        elif id_ != id_.encode(errors="replace").decode():
            reason = "its path is not UTF-8: convmv -r -f latin1 -t utf8 --notest ."
        if reason:
            problems.append(corpora.Problem(str(path), reason))
        else:
            utterances.append(corpora.Utterance(id_, path, path.parent.name, ""))
    if not utterances:
        raise ValueError(
            f"{source} has no folders with sound; --labels=folders reads "
            "EMOTION/NAME.wav in it"
        )
    words = Counter(utterance.emotion for utterance in utterances)
    warnings = _spellings(words)
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common())
        warnings.append(f"passed over, since they are not named as sound: {kinds}")
    return _corpus(utterances, problems, warnings)


def _rows(
    path: pathlib.Path, chosen: Mapping[str, str], needed: Sequence[str]
) -> _Rows:
    """The rows of a table with their line numbers, empty ones aside.

    Returns:
      Of each row the cells, by what they tell and as they stand, or why it has none.

    Raises:
      ValueError: When the file is no table, or lacks a column that is needed.
    """
    read = delimited.read(path)
    names = read.header
    index = _find_columns(path.name, names, chosen, read.delimiter, needed)
    rows: _Rows = []
    for number, cells in read.rows:
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(names):
            why = f"has {len(cells)} cells, and the header {len(names)}"
            if len(cells) > len(names):
                why += ": a cell with a delimiter in it needs quotes"
            rows.append((number, why))
        else:
            rows.append((number, {what: cells[at] for what, at in index.items()}))
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _find_columns(
    table: str,
    names: list[str],
    chosen: Mapping[str, str],
    delimiter: str,
    needed: Sequence[str],
) -> dict[str, int]:
    """The places of the columns by what they tell; it prints what it took for what."""
    found, others = {}, []
    for what, aliases in COLUMNS.items():
        if what in chosen:
            if chosen[what]:
                found[what] = _named(table, names, what, chosen[what])
            continue
        like = [n for alias in (what, *aliases) for n in names if _plain(n) == alias]
        if like and like[0] not in chosen.values():
            found[what] = _named(table, names, what, like[0])
            others += [f"{what} is not {name}" for name in like[1:]]
    if "duration" not in chosen and ("start" not in found or "end" in found):
        found.pop("duration", None)  # of the file, or what the end tells
    separated = f"its columns are separated by {delimited.DELIMITERS[delimiter]}"
    if len(names) == 1:
        separated = "commas, tabs, semicolons or bars separate columns"
    for what in needed:
        if what not in found:
            raise ValueError(
                f"{table} has no column that tells the {what}; it has "
                f"{', '.join(map(repr, names))} ({separated}, the first line names "
                f"them). Name the column: --columns={what}:COLUMN"
            )
    taken = [f"{what} is {names[at]}" for what, at in found.items()]
    unused = [name for at, name in enumerate(names) if at not in found.values()]
    settled = ",".join(f"{what}:{names[at]}" for what, at in found.items())
    print(f"columns of {table}: " + text.printable(", ".join(taken + others)))
    if unused:
        print(f"  not used: {text.printable(', '.join(unused))}")
    if any(names[at] != chosen.get(what, what) for what, at in found.items()):
        print(f"  to settle it: --columns={text.printable(settled)}")
    return found


def _named(table: str, names: list[str], what: str, name: str) -> int:
    like = [at for at, other in enumerate(names) if other == name]
    like = like or [at for at, n in enumerate(names) if _plain(n) == _plain(name)]
    if len(like) != 1:
        how_many = "no column" if not like else f"{len(like)} columns"
        raise ValueError(
            f"{table} has {how_many} named {name!r}, which is to tell the {what}; it "
            f"has {', '.join(map(repr, names))}"
        )
    return like[0]


def _utterance(
    row: dict[str, str] | str, folder: pathlib.Path, place: str, needed: Sequence[str]
) -> corpora.Utterance:
    """An utterance of a row; a ValueError says why it gives none."""
    if isinstance(row, str):
        raise ValueError(row)
    cells = {what: cell.strip() for what, cell in row.items()}
    if empty := [what for what in needed if not cells[what]]:
        raise ValueError(f"names no {' and no '.join(empty)}")
    path = _find(folder, cells["file"])
    start, end, duration = (_seconds(w, cells.get(w, "")) for w in _OF_SOUND[1:])
    if end is None and duration is not None:
        end = (start or 0) + duration
    if end is not None and end <= (start or 0):
        raise ValueError(f"starts at {start or 0} s and ends at {end} s")
    return corpora.Utterance(
        id=_id(folder, path, start, end),
        path=path,
        emotion=cells.get("emotion", ""),
        **{
            field: cells.get(field, "")
            for field in ("speaker", "session", "dialogue", "text", "intensity")
        },
        kind=_kind(cells.get("kind", "")),
        part=_part(cells.get("split", "")),
        start=start or 0.0,
        end=end,
        row=place,
    )


def _find(folder: pathlib.Path, cell: str) -> pathlib.Path:
    """The file that a cell names, with its extension or without."""
    tried = [cell, cell.replace("\\", "/")]
    # An accent is one character or two: what wrote the table, and what unpacked the
    # files, may differ.
    forms = ("NFC", "NFD")
    tried += [unicodedata.normalize(form, name) for form in forms for name in tried]
    for name in dict.fromkeys(tried):
        path = pathlib.Path(os.path.normpath(folder / name))
        if path.is_file():
            return path
        if path.suffix.lower() not in corpora.SOUND:
            endings = [e for s in corpora.SOUND for e in (s, s.upper())]
            with_ending = [path.with_name(path.name + end) for end in endings]
            found = [other for other in with_ending if other.is_file()]
            if len(found) > 1:
                raise ValueError(f"{cell} may be {' or '.join(p.name for p in found)}")
            if found:
                return found[0]
    raise ValueError(f"{_NO_FILE} {folder / cell}")


def _id(
    folder: pathlib.Path, path: pathlib.Path, start: float | None, end: float | None
) -> str:
    """The path in the folder, and which part of the file where it is one."""
    root = pathlib.Path(os.path.normpath(folder))
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return name.as_posix() + part_of_file(start, end)


def part_of_file(start: float | None, end: float | None) -> str:
    """What follows the name of a file in the id of a part of it, '#START-END'.

    Args:
      start: In seconds, None for the beginning.
      end: In seconds, None for the end.

    Returns:
      '' for the whole file; times have up to 15 digits, so that they are those given.
    """
    if start is None and end is None:
        return ""
    return f"#{start or 0:.15g}-{'' if end is None else f'{end:.15g}'}"


def _seconds(what: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(re.sub(r"^(\d*),(\d+)$", r"\1.\2", cell))
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(
            f"{what} is {cell!r}, which is no number of seconds; --columns={what}: "
            "leaves the column out"
        )
    return seconds


def _kind(cell: str) -> str:
    if cell and (not re.fullmatch(r"[A-Za-z]\w*", cell, re.ASCII) or cell == "all"):
        raise ValueError(
            f"kind is {cell!r}; it must be letters, digits and _, and not 'all'"
        )
    return cell


def _part(cell: str) -> str:
    if cell and cell.casefold() not in PARTS:
        raise ValueError(
            f"split is {cell!r}, none of train, validation (val, dev) and test; where "
            "the column means something else: --columns=split:"
        )
    return PARTS.get(cell.casefold(), "")


def _each_once(
    utterances: Sequence[corpora.Utterance],
) -> tuple[list[corpora.Utterance], list[corpora.Problem]]:
    """Keeps the first of equal rows, and none of those that contradict each other."""
    by_id: dict[str, list[corpora.Utterance]] = {}
    for utterance in utterances:
        by_id.setdefault(utterance.id, []).append(utterance)
    once, problems = [], []
    for id_, same in by_id.items():
        first, *others = same
        differ = [
            what
            for what in ("emotion", "speaker", "session", "dialogue", "part")
            if len({getattr(utterance, what) for utterance in same}) > 1
        ]
        if not differ:
            once.append(first)
            reason = f"names {id_} again, as {first.row} does: delete one of the rows"
            problems += [corpora.Problem(other.row, reason) for other in others]
        for utterance in same if differ else ():
            other = others[0] if utterance is first else first
            values = [f"{getattr(utterance, d)!r}" for d in differ]
            values += [f"{getattr(other, d)!r}" for d in differ]
            reason = (
                f"names {id_} as {other.row} does, with another {', '.join(differ)} "
                f"({' / '.join(values)}): delete the row that is wrong"
            )
            problems.append(corpora.Problem(utterance.row, reason))
    return once, problems


def spelling(word: str) -> str:
    """What is the same for words that differ only in case, blanks and Unicode form."""
    return unicodedata.normalize("NFC", " ".join(word.split()).casefold())


def _spellings(words: Mapping[str, int]) -> list[str]:
    """Sentences about emotions that differ only in case or blanks.

    Args:
      words: How many rows have each word, as it stands.
    """
    alike: dict[str, Counter] = {}
    for word, count in words.items():
        alike.setdefault(spelling(word), Counter())[word] += count
    sentences = []
    for forms in alike.values():
        stripped = Counter()
        for word, count in forms.items():
            stripped[word.strip()] += count
            if word != word.strip() and word.strip() in forms:
                sentences.append(
                    f"emotion {word!r} ({count} rows) is taken for {word.strip()!r}: "
                    "blanks around a cell do not count"
                )
        if len(stripped) > 1:
            listed = [f"{word!r} ({n} rows)" for word, n in sorted(stripped.items())]
            sentences.append(
                f"emotions {' and '.join(listed)} differ only in case or blanks: write "
                "one word for them in the table (configs/table.py makes them one "
                "class, and --config.classes can tell them apart)"
            )
    return sentences


def _groups_in_doubt(utterances: Sequence[corpora.Utterance]) -> list[str]:
    """Sentences about speakers, sessions, ... that may be one, or none."""
    sentences = []
    for field in _GROUPS:
        rows = Counter(getattr(utterance, field) for utterance in utterances)
        del rows[""]
        alike: dict[str, list[str]] = {}
        for name in sorted(rows):
            # 01 is 1 elsewhere, and 1.0 where a column once had gaps.
            same = re.sub(r"\b0+(?=\d)|\.0$", "", spelling(name))
            alike.setdefault(same, []).append(name)
        doubles = [names for names in alike.values() if len(names) > 1]
        if doubles:
            listed = " and ".join(
                f"{name!r} ({rows[name]} rows)" for name in doubles[0]
            )
            more = f", and {len(doubles) - 1} more" if len(doubles) > 1 else ""
            sentences.append(
                f"{field} {listed} may be the same{more}; here they are not, and one "
                "may train while the other is tested: write one word for it"
            )
        sentences += [
            f"{field} {name!r} ({rows[name]} rows) is taken for a name: leave the cell "
            "empty where it is not known"
            for name in rows
            if spelling(name) in _UNKNOWN
        ]
    return sentences


def _dialogues_in_doubt(utterances: Sequence[corpora.Utterance]) -> list[str]:
    """A sentence about a dialogue that is perhaps several of one name."""
    sessions: dict[str, set[str]] = {}
    for utterance in utterances:
        sessions.setdefault(utterance.dialogue, set()).add(utterance.session)
    several = [name for name in sessions if name and len(sessions[name]) > 1]
    if not several:
        return []
    more = f", and so are {len(several) - 1} more" if len(several) > 1 else ""
    return [
        f"dialogue {several[0]!r} is in {len(sessions[several[0]])} sessions{more}; "
        "where some of a dialogue is tested, none of it trains: where these are other "
        "conversations, write the session before it"
    ]


def _gaps(utterances: Sequence[corpora.Utterance]) -> list[str]:
    """Sentences about what some rows tell and others do not."""
    sentences = []
    for field, so in (
        ("speaker", "protocols by speaker always train on them, and never test them"),
        ("part", "protocol table does not use them"),
    ):
        without = [u for u in utterances if not getattr(u, field)]
        if without and len(without) < len(utterances):
            what = "split" if field == "part" else field
            sentences.append(
                f"{len(without)} of {len(utterances)} rows name no {what} "
                f"({without[0].row}): {so}"
            )
    return sentences


def _overlaps(utterances: Sequence[corpora.Utterance]) -> list[str]:
    """A sentence about parts of one file that share sound."""
    found = []
    in_order = sorted(utterances, key=lambda u: (str(u.path), u.start))
    for one, other in itertools.pairwise(in_order):
        end = math.inf if one.end is None else one.end
        if one.path == other.path and other.start < end:
            found.append(f"{one.row} and {other.row.rpartition(', ')[2]}")
    if not found:
        return []
    return [
        f"{len(found)} pairs of rows share sound of one file ({found[0]}): both sides "
        "of a split may hear it"
    ]


def _not_named(
    utterances: Sequence[corpora.Utterance], table: str, folder: pathlib.Path
) -> list[str]:
    """A sentence about sound beside the files of a table that it does not name."""
    paths = {utterance.path for utterance in utterances}
    top = pathlib.Path(os.path.commonpath([path.parent for path in paths] or [folder]))
    if not top.is_relative_to(os.path.normpath(folder)):
        return []  # files from several places: what lies between them is not the corpus
    try:
        others = [path for path in corpora.below(top)[0] if path not in paths]
    except ValueError as error:
        return [f"{error}, so that {table} may not name all sound"]
    files = {path.resolve() for path in paths} if others else set()
    others = [path for path in others if path.resolve() not in files]
    if not others:
        return []
    return [f"{table} does not name {len(others)} sound files, such as {others[0]}"]
