"""A corpus folder -> a prepared data set: checks, counts, then records."""

import contextlib
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tqdm

from data_prep import audio, claims, features, processes, records, text
from data_prep.corpora import (
    Corpus,
    Problem,
    Utterance,
    crema_d,
    demo,
    emodb,
    iemocap,
    ravdess,
)
from data_prep.corpora import table as table_reader

if TYPE_CHECKING:
    import apache_beam

# Files beside the records; all but the first only where there is something to list.
SUMMARY = "summary.txt"
WARNINGS = "warnings.csv"
LEFT_OUT = "left_out.csv"
IDENTICAL = "identical.csv"
CORPORA = {
    "iemocap": iemocap,
    "emodb": emodb,
    "ravdess": ravdess,
    "crema_d": crema_d,
    "demo": demo,
}


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the check of one recording found."""

    utterance: Utterance
    num_samples: int = 0
    content: str = ""
    stored_rate: int = 0
    converted: str = ""
    problem: str = ""
    warnings: tuple[str, ...] = ()
    level: float = math.nan
    treble: float = math.nan


def check(utterance: Utterance) -> Checked:
    """Decodes a recording, to find out before any work whether it can be used."""
    try:
        sound = audio.stream(utterance.path, utterance.start, utterance.end)
        for _ in sound:
            pass
    except audio.AudioError as error:
        return Checked(utterance, problem=str(error))
    converted = ""
    if (sound.stored_rate, sound.stored_channels) != (features.SAMPLE_RATE, 1):
        converted = f"{sound.stored_rate} Hz, {sound.stored_channels} channels"
    return Checked(
        utterance,
        sound.num_samples,
        sound.content,
        sound.stored_rate,
        converted,
        warnings=sound.warnings,
        level=sound.level,
        treble=sound.treble,
    )


def check_all(
    corpus: Corpus, workers: int
) -> tuple[list[Checked], list[Problem], Counter]:
    """Decodes every recording of a corpus.

    Returns:
      The recordings that can be used, all problems, and how many recordings were
      stored in which form other than 16 kHz mono.
    """
    results = processes.in_order(check, corpus.utterances, workers, chunk=16)
    checked = list(
        tqdm.tqdm(
            results, "checking wavs", len(corpus.utterances), unit="utt", disable=None
        )
    )
    problems = corpus.problems + [
        Problem(result.utterance.place, result.problem)
        for result in checked
        if result.problem
    ]
    usable = [result for result in checked if not result.problem]
    return usable, problems, Counter(r.converted for r in usable if r.converted)


def split_of(utterance: Utterance) -> str:
    """The TFDS split of an utterance: its kind where the corpus has kinds."""
    return utterance.kind or "train"


def table(usable: list[Checked], segment: int, hop: int) -> str:
    """Counts utterances by split and emotion, and says how long they are.

    Args:
      usable: The recordings.
      segment: Samples in a segment.
      hop: Samples between the starts of two segments.
    """
    rows: dict[tuple[str, str], list[Checked]] = {}
    totals: dict[str, list[Checked]] = {}
    for result in usable:
        split = split_of(result.utterance)
        rows.setdefault((split, result.utterance.emotion), []).append(result)
        totals.setdefault(split, []).append(result)
    wide = max(11, *(len(text.printable(emotion)) for _, emotion in rows)) + 1
    lines = [
        f"{'split':<8}{'emotion':<{wide}}{'utterances':>11}{'segments':>10}{'short':>7}"
        f"{'hours':>8}{'speakers':>10}{'shortest':>10}{'median':>8}{'longest':>9}"
    ]
    for split, total in sorted(totals.items()):
        of_split = sorted(key for key in rows if key[0] == split)
        named = [(text.printable(key[1]), rows[key]) for key in of_split]
        for emotion, some in [*named, ("all", total)]:
            counts = _counts(some, segment, hop)
            lines.append(f"{split:<8}{emotion:<{wide}}{counts}")
    rates = Counter(result.stored_rate for result in usable)
    listed = [f"{rate} Hz ({count})" for rate, count in sorted(rates.items())]
    lines.append(
        "short: shorter than one segment; kept as one segment of the repeated waveform "
        "that is not counted here. Shortest, median and longest are in seconds. Stored "
        f"at {', '.join(listed)}."
    )
    return "\n".join(lines) + "\n"


def _counts(some: list[Checked], segment: int, hop: int) -> str:
    """A row of the table."""
    samples = [result.num_samples for result in some]
    segments = sum(features.count(number, segment, hop) for number in samples)
    short = sum(number < segment for number in samples)
    speakers = len({result.utterance.speaker for result in some} - {""})
    seconds = [number / features.SAMPLE_RATE for number in samples]
    return (
        f"{len(some):>11}{segments:>10}{short:>7}{sum(seconds) / 3600:>8.2f}"
        f"{speakers:>10}{min(seconds):>10.2f}{statistics.median(seconds):>8.2f}"
        f"{max(seconds):>9.2f}"
    )


def refuse_or_list(problems: list[Problem], skip_bad: bool) -> str:
    """Prints what cannot be used.

    Returns:
      The same as the text of a CSV file, '' when there is nothing.

    Raises:
      ValueError: when there is something and it is not to be skipped.
    """
    if not problems:
        return ""
    print(f"{len(problems)} files or labels cannot be used:")
    for problem in problems:
        print(f"  {text.printable(problem.path)}: {text.printable(problem.reason)}")
    if not skip_bad:
        raise ValueError(
            "nothing was written. Repair these, or leave them out with --skip_bad "
            f"(they are then listed in {LEFT_OUT} in the data set's folder)."
        )
    rows = [(_utf8(problem.path), problem.reason) for problem in problems]
    return text.csv_text(("path", "reason"), rows)


def _utf8(name: str) -> str:
    """A name as a file can hold it: bytes that are not UTF-8 are escapes."""
    return name.encode(errors="backslashreplace").decode()


def list_warnings(usable: list[Checked]) -> str:
    """Prints what is suspicious about recordings and no reason to leave them out.

    Returns:
      The same as the text of a CSV file, '' when there is nothing.
    """
    rows = [
        (_utf8(result.utterance.place), warning)
        for result in usable
        for warning in result.warnings
    ]
    if not rows:
        return ""
    print(f"{len(rows)} warnings about recordings, listed in {WARNINGS}:")
    for path, warning in rows[:10]:
        print(f"  warning: {text.printable(path)} {warning}")
    if len(rows) > 10:
        print(f"  and {len(rows) - 10} more")
    return text.csv_text(("path", "warning"), rows)


def list_identical(usable: list[Checked]) -> str:
    """Prints which recordings hold the same samples.

    Returns:
      The same as the text of a CSV file, '' when all differ.
    """
    found: dict[str, list[Utterance]] = {}
    for result in usable:
        found.setdefault(result.content, []).append(result.utterance)
    identical = {content: same for content, same in found.items() if len(same) > 1}
    if not identical:
        return ""
    print(
        "identical recordings (training never has one while the other is tested), "
        f"listed in {IDENTICAL}:"
    )
    lines = sorted(map(_identical, identical.values()), key=lambda line: line[0])
    for _, line in lines[:10]:
        print(f"  {line}")
    if len(lines) > 10:
        print(f"  and {len(lines) - 10} more")
    if contradicting := sum(not same for same, _ in lines):
        print(
            f"warning: {contradicting} of these lines have different emotions: which "
            "is right?"
        )
    rows = [(content, u.id) for content, same in identical.items() for u in same]
    return text.csv_text(("content", "id"), rows)


def _identical(same: list[Utterance]) -> tuple[bool, str]:
    """Whether identical recordings have one emotion, and a line that names them."""
    emotions = {utterance.emotion for utterance in same}
    one = len(emotions) == 1
    names = [u.id if one else f"{u.id} ({u.emotion})" for u in same]
    return one, text.printable(" = ".join(names))


def keep_emotions(usable: list[Checked], emotions: Sequence[str]) -> list[Checked]:
    """Drops the utterances of other emotions; no emotions named keeps all.

    Raises:
      ValueError: for an emotion that the corpus does not have.
    """
    found = sorted({result.utterance.emotion for result in usable})
    if unknown := sorted(set(emotions) - set(found)):
        raise ValueError(f"--emotions: no {unknown} in this corpus; it has {found}")
    return [r for r in usable if r.utterance.emotion in (emotions or found)]


def warn_of_counts(corpus: str, usable: list[Checked]) -> None:
    """Warns where the counts of a corpus are not the published ones, if any are."""
    if corpus not in CORPORA:
        return
    differences = CORPORA[corpus].count_differences(
        (r.utterance.kind, r.utterance.emotion, r.num_samples / features.SAMPLE_RATE)
        for r in usable
    )
    for difference in differences:
        print(f"warning: {difference}")


def read_corpus(
    name: str,
    source: str | pathlib.Path | None,
    labels: table_reader.Labels | None = None,
) -> tuple[Corpus, str | pathlib.Path]:
    """Lists a corpus.

    Args:
      name: A name in `CORPORA`, or anything where there are labels.
      source: Its folder.
      labels: Those of a corpus of one's own.

    Returns:
      The corpus, and where it was found: its folder, or its table.

    Raises:
      ValueError: When it is not there, or not such a corpus.
    """
    if labels:
        by_folder = labels.path == table_reader.FOLDERS
        found = source if by_folder and source else labels.path
        return table_reader.read(labels, source), found
    if not source:
        raise ValueError(f"--source is needed: the folder that holds {name}")
    return CORPORA[name].read(source), source


def prepare(
    data_set: records.DataSet,
    source: str | pathlib.Path | None,
    data_dir: pathlib.Path,
    skip_bad: bool = False,
    workers: int = 1,
    pipeline: "apache_beam.Pipeline | None" = None,
    labels: table_reader.Labels | None = None,
) -> tuple[pathlib.Path, bool]:
    """Checks the corpus and writes the data set, unless it is there already.

    Args:
      data_set: What to prepare.
      source: The folder of the corpus; None for the default of `demo`, or that of the
        labels.
      data_dir: The folder of all data sets.
      skip_bad: Whether to leave out what cannot be used, instead of refusing all.
      workers: Processes that decode, and compute where there is no pipeline.
      pipeline: It computes the features instead.
      labels: Those of a corpus of one's own; None for a corpus with a reader.

    Returns:
      The data set's folder, and whether it was there.

    Raises:
      ValueError: When the corpus cannot be used, or the data set that is there was made
        of another one.
    """
    folder = data_set.folder(data_dir)
    if data_set.corpus == "demo":
        made = not source and not (data_dir / "demo_corpus").exists()
        if made and data_set.is_prepared(data_dir):  # there is nothing to compare
            return folder, True
        source = source or data_dir / "demo_corpus"
    corpus, source = read_corpus(data_set.corpus, source, labels)
    usable, problems, converted = check_all(corpus, workers)
    if data_set.is_prepared(data_dir):
        compare(data_set, data_dir, keep_emotions(usable, data_set.emotions), source)
        return folder, True
    for form, count in sorted(converted.items()):
        print(f"converted to 16 kHz mono: {count} recordings of {form}")
    left_out = refuse_or_list(problems, skip_bad)
    if not usable:
        raise ValueError("nothing was written: no recording is left.")
    for warning in corpus.warnings:
        print(f"warning: {text.printable(warning)}")
    warn_of_counts(data_set.corpus, usable)
    usable = keep_emotions(usable, data_set.emotions)
    notes = {
        SUMMARY: table(usable, data_set.segment, data_set.hop),
        LEFT_OUT: left_out,
        WARNINGS: list_warnings(usable),
        IDENTICAL: list_identical(usable),
    }
    notes = {name: note for name, note in notes.items() if note}
    what = f"{folder} is being prepared"
    with claims.wait_for(folder.parent, what):
        if data_set.is_prepared(data_dir):  # meanwhile, by another process
            compare(data_set, data_dir, usable, source)
            return folder, True
        remove_leftovers(folder)
        write(data_set, data_dir, usable, source, notes, workers, pipeline)
    return folder, False


def write(
    data_set: records.DataSet,
    data_dir: pathlib.Path,
    usable: list[Checked],
    source: str | pathlib.Path,
    notes: dict[str, str] | None = None,
    workers: int = 1,
    pipeline: "apache_beam.Pipeline | None" = None,
) -> None:
    """Writes the records of recordings that were checked, and what they come from.

    Args:
      data_set: What to prepare.
      data_dir: The folder of all data sets.
      usable: The recordings, in the order of their ids.
      source: The folder of the corpus.
      notes: Text files to leave beside the records, by file name.
      workers: Processes that compute where there is no pipeline.
      pipeline: It computes the features instead.
    """
    import tensorflow_datasets as tfds  # takes seconds, as the builder's

    from data_prep import builder

    told = records.describe(
        data_set,
        data_set.feature_shape(),
        fields_by_split(usable, data_set.segment),
        pathlib.Path(source).expanduser().resolve().name,
        own_split(usable),
    )
    told["sound"] = sound_of(usable)
    notes = dict(notes or {})
    if parts := own_split(usable):
        notes[records.OWN_SPLIT] = records.own_split_text(parts)
    told["notes"] = {
        name: hashlib.sha256(note.encode()).hexdigest() for name, note in notes.items()
    }
    notes[records.PROVENANCE] = json.dumps(told, indent=2) + "\n"
    splits: dict[str, list[Utterance]] = {}
    for result in usable:
        splits.setdefault(split_of(result.utterance), []).append(result.utterance)
    tfds.disable_progress_bar()  # the builder shows its own
    with contextlib.redirect_stdout(None):  # TFDS speaks of downloads
        builder.SpeechEmotion(
            splits, data_set, data_dir, workers, notes, pipeline
        ).download_and_prepare()


def fields_by_split(usable: list[Checked], segment: int) -> dict[str, list[dict]]:
    """What the records of each TFDS split hold besides features, in their order."""
    splits: dict[str, list[dict]] = {}
    for result in usable:
        row = records.fields(
            result.utterance, result.content, result.num_samples, segment
        )
        splits.setdefault(split_of(result.utterance), []).append(row)
    return splits


def sound_of(usable: list[Checked]) -> dict[str, list[float]]:
    """How recordings sound, to tell one of another kind: 1st and 99th percentiles.

    Returns:
      'level' and 'treble', see `audio.Stream`.
    """
    return {
        name: np.nanpercentile([getattr(r, name) for r in usable], [1, 99]).tolist()
        for name in ("level", "treble")
    }


def own_split(usable: list[Checked]) -> dict[str, str]:
    """The parts of the corpus's own split by id, {} where it has none."""
    parts = {r.utterance.id: r.utterance.part for r in usable}
    return parts if any(parts.values()) else {}


def damaged_notes(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files beside the records that are not what was written."""
    written = records.provenance(folder).get("notes", {})
    files = {name: folder / name for name in written}
    return [
        path
        for name, path in files.items()
        if not path.is_file()
        or hashlib.sha256(path.read_bytes()).hexdigest() != written[name]
    ]


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what builds of a data set left that were killed or interrupted.

    Args:
      folder: The data set's, which is kept to this process and is not prepared.
    """
    for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
        print(f"removing {leftover}, which a killed build left")
        shutil.rmtree(leftover)
    if folder.exists():
        print(f"removing {folder}, which is not whole (no dataset_info.json)")
        shutil.rmtree(folder)


def compare(
    data_set: records.DataSet,
    data_dir: pathlib.Path,
    usable: list[Checked],
    source: str | pathlib.Path,
) -> None:
    """Checks that a data set that is there was made of these recordings.

    Raises:
      ValueError: When it was made of others, with what differs, or is damaged.
    """
    folder = data_set.folder(data_dir)
    found, _ = records.read(data_set, data_dir)
    told = records.provenance(folder)
    shape = data_set.feature_shape()
    splits = fields_by_split(usable, data_set.segment)
    parts = own_split(usable)
    now = records.describe(data_set, shape, splits, "", parts)
    if now["digest"] == told["digest"]:
        return
    prepared = {row["id"]: row for row in map(records.decoded, found)}
    given = {row["id"]: row for rows in splits.values() for row in rows}
    lines = [
        *_named("only in the prepared data set", prepared.keys() - given.keys()),
        *_named("only in the source", given.keys() - prepared.keys()),
    ]
    both = prepared.keys() & given.keys()
    for field in records.DIGESTED:
        other = [id_ for id_ in both if prepared[id_][field] != given[id_][field]]
        what = "sound" if field == "content" else field
        lines += _named(f"another {what}", other)
    before = records.own_split(folder)
    other = [id_ for id_ in both if before.get(id_, "") != parts.get(id_, "")]
    lines += _named("in another part of the split", other)
    for name in ("feature_shape", "features_version", "data_set"):
        if told.get(name) != json.loads(json.dumps(now[name])):
            lines.append(f"{name}: {told.get(name)}, now {now[name]}")
    raise ValueError(
        f"{folder} was prepared from another source ({told['source']}) than "
        f"{text.printable(source)}:\n"
        + "".join(f"  {text.printable(line)}\n" for line in lines)
        + "Keep it and give another "
        + ("--data_dir" if data_set.corpus in CORPORA else "--name or --data_dir")
        + f", or {data_set.how_to_repair(data_dir)}"
    )


def _named(what: str, ids: Iterable[str]) -> list[str]:
    ids = sorted(ids)
    if not ids:
        return []
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return [f"{what}: {', '.join(ids[:3])}{more}"]
