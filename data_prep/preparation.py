"""A corpus folder -> a prepared data set: checks, counts, then records."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    import apache_beam

# Files beside the records; the last three only where there is something to list.
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
    converted: str = ""
    problem: str = ""
    warnings: tuple[str, ...] = ()


def check(utterance: Utterance) -> Checked:
    """Decodes a recording, to find out before any work whether it can be used."""
    try:
        sound = audio.stream(utterance.path)
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
        converted,
        warnings=sound.warnings,
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
        Problem(str(result.utterance.path), result.problem)
        for result in checked
        if result.problem
    ]
    usable = [result for result in checked if not result.problem]
    return usable, problems, Counter(r.converted for r in usable if r.converted)


def split_of(utterance: Utterance) -> str:
    """The TFDS split of an utterance: its kind where the corpus has kinds."""
    return utterance.kind or "train"


def table(usable: list[Checked], segment: int, hop: int) -> str:
    """Counts utterances, segments, short utterances and hours by split and emotion."""
    rows: dict[tuple[str, str], Counter] = {}
    for result in usable:
        short = result.num_samples < segment
        counts = Counter(
            utterances=1,
            segments=features.count(result.num_samples, segment, hop),
            short=short,
            samples=result.num_samples,
        )
        split = split_of(result.utterance)
        for key in ((split, result.utterance.emotion), (split, "all")):
            rows[key] = rows.get(key, Counter()) + counts
    lines = [
        f"{'split':<8}{'emotion':<12}{'utterances':>11}{'segments':>10}"
        f"{'short':>7}{'hours':>8}"
    ]
    # Each split's total comes last in it.
    for split, emotion in sorted(rows, key=lambda key: (key[0], key[1] == "all", key)):
        row = rows[split, emotion]
        hours = row["samples"] / features.SAMPLE_RATE / 3600
        lines.append(
            f"{split:<8}{emotion:<12}{row['utterances']:>11}{row['segments']:>10}"
            f"{row['short']:>7}{hours:>8.2f}"
        )
    lines.append(
        "short: shorter than one segment; kept as one segment of the repeated waveform "
        "that is not counted here."
    )
    return "\n".join(lines) + "\n"


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
        (_utf8(str(result.utterance.path)), warning)
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
    ids: dict[str, list[str]] = {}
    for result in usable:
        ids.setdefault(result.content, []).append(result.utterance.id)
    identical = {content: same for content, same in ids.items() if len(same) > 1}
    if not identical:
        return ""
    print(
        "identical recordings (training never has one while the other is tested), "
        f"listed in {IDENTICAL}:"
    )
    lines = [text.printable(" = ".join(same)) for same in identical.values()]
    for line in lines[:10]:
        print(f"  {line}")
    if len(lines) > 10:
        print(f"  and {len(lines) - 10} more")
    rows = [(content, id_) for content, same in identical.items() for id_ in same]
    return text.csv_text(("content", "id"), rows)


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
    """Warns where the counts of a corpus are not the published ones."""
    differences = CORPORA[corpus].count_differences(
        (r.utterance.kind, r.utterance.emotion, r.num_samples / features.SAMPLE_RATE)
        for r in usable
    )
    for difference in differences:
        print(f"warning: {difference}")


def prepare(
    data_set: records.DataSet,
    source: str | pathlib.Path | None,
    data_dir: pathlib.Path,
    skip_bad: bool = False,
    workers: int = 1,
    pipeline: "apache_beam.Pipeline | None" = None,
) -> tuple[pathlib.Path, bool]:
    """Checks the corpus and writes the data set, unless it is there already.

    Args:
      data_set: What to prepare.
      source: The folder of the corpus; None for the default of `demo`.
      data_dir: The folder of all data sets.
      skip_bad: Whether to leave out what cannot be used, instead of refusing all.
      workers: Processes that decode, and compute where there is no pipeline.
      pipeline: It computes the features instead.

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
    elif not source:
        raise ValueError(f"--source is needed: the folder that holds {data_set.corpus}")
    corpus = CORPORA[data_set.corpus].read(source)
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
    )
    notes = notes or {}
    told["notes"] = {
        name: hashlib.sha256(note.encode()).hexdigest() for name, note in notes.items()
    }
    notes = notes | {records.PROVENANCE: json.dumps(told, indent=2) + "\n"}
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
    now = records.describe(data_set, shape, splits, "")
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
    for name in ("feature_shape", "features_version", "data_set"):
        if told.get(name) != json.loads(json.dumps(now[name])):
            lines.append(f"{name}: {told.get(name)}, now {now[name]}")
    raise ValueError(
        f"{folder} was prepared from another source ({told['source']}) than "
        f"{text.printable(source)}:\n"
        + "".join(f"  {text.printable(line)}\n" for line in lines)
        + "Keep it and give another --data_dir, or "
        + data_set.how_to_repair(data_dir)
    )


def _named(what: str, ids: Iterable[str]) -> list[str]:
    ids = sorted(ids)
    if not ids:
        return []
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return [f"{what}: {', '.join(ids[:3])}{more}"]
