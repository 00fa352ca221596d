"""A corpus folder -> a prepared data set: checks, counts, then records."""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow_datasets as tfds
import tqdm

from data_prep import audio, builder, features, processes, records, text
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

# Files beside the records; the last two only where there is something to list.
SUMMARY = "summary.txt"
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


def check(utterance: Utterance) -> Checked:
    """Decodes a recording, to find out before any work whether it can be used."""
    try:
        sound = audio.read(utterance.path)
    except audio.AudioError as error:
        return Checked(utterance, problem=str(error))
    converted = ""
    if (sound.stored_rate, sound.stored_channels) != (features.SAMPLE_RATE, 1):
        converted = f"{sound.stored_rate} Hz, {sound.stored_channels} channels"
    return Checked(utterance, len(sound.wave), sound.digest(), converted)


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
    rows = []
    for problem in problems:
        # A name that is not UTF-8 could be neither printed nor written.
        path = problem.path.encode(errors="backslashreplace").decode()
        print(f"  {path}: {problem.reason}")
        rows.append((path, problem.reason))
    if not skip_bad:
        raise ValueError(
            "nothing was written. Repair these, or leave them out with --skip_bad "
            f"(they are then listed in {LEFT_OUT} in the data set's folder)."
        )
    return text.csv_text(("path", "reason"), rows)


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
    lines = [" = ".join(same) for same in identical.values()]
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
    source: str | None,
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
    """
    folder = data_set.folder(data_dir)
    if folder.exists():
        return folder, True
    if data_set.corpus == "demo":
        source = source or data_dir / "demo_corpus"
    elif not source:
        raise ValueError(f"--source is needed: the folder that holds {data_set.corpus}")
    corpus = CORPORA[data_set.corpus].read(source)
    usable, problems, converted = check_all(corpus, workers)
    for form, count in sorted(converted.items()):
        print(f"converted to 16 kHz mono: {count} recordings of {form}")
    left_out = refuse_or_list(problems, skip_bad)
    if not usable:
        raise ValueError("nothing was written: no recording is left.")
    warn_of_counts(data_set.corpus, usable)
    usable = keep_emotions(usable, data_set.emotions)
    notes = {
        SUMMARY: table(usable, data_set.segment, data_set.hop),
        LEFT_OUT: left_out,
        IDENTICAL: list_identical(usable),
    }
    notes = {name: note for name, note in notes.items() if note}
    splits: dict[str, list[Utterance]] = {}
    for result in usable:
        split = split_of(result.utterance)
        splits.setdefault(split, []).append(result.utterance)
    tfds.disable_progress_bar()  # the builder shows its own
    with contextlib.redirect_stdout(None):  # TFDS speaks of downloads
        builder.SpeechEmotion(
            splits, data_set, data_dir, workers, notes, pipeline
        ).download_and_prepare()
    return folder, False
