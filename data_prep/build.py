r"""Turns a corpus folder into TFDS records of features, once, before training.

The corpus is only read. For example:

  python -m data_prep.build --corpus=iemocap --source=/path/to/IEMOCAP_full_release
  python -m data_prep.build --corpus=demo
"""

import contextlib
import csv
import dataclasses
import io
import pathlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import joblib
import tensorflow_datasets as tfds
import tqdm
from absl import app, flags, logging

from data_prep import audio, builder, features, processes
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

flags.DEFINE_enum("corpus", None, list(CORPORA), "Which corpus to read.")
flags.DEFINE_string(
    "source",
    None,
    "Folder of the corpus: the one that holds Session1 ... Session5 (iemocap), wav "
    "(emodb), Actor_01 ... Actor_24 (ravdess) or AudioWAV (crema_d). For demo: where "
    "the synthetic corpus is made if it is not there (default: DATA_DIR/demo_corpus).",
)
flags.DEFINE_string("data_dir", "data", "Folder that receives the data set.")
flags.DEFINE_string(
    "features",
    "mfcc",
    f"Kind of features: {', '.join(features.KINDS)}, or package.module:function of "
    "your own.",
)
flags.DEFINE_integer("segment", 28800, "Samples in a segment, at 16 kHz.", 1)
flags.DEFINE_integer("hop", 3199, "Samples between the starts of two segments.", 1)
flags.DEFINE_enum(
    "pad_mode",
    "reflect",
    features.PAD_MODES,
    "How a segment's ends are padded: reflect as in the paper (librosa before 0.9), "
    "constant as in librosa today.",
)
flags.DEFINE_list("emotions", [], "The corpus's emotion words to keep (default: all).")
flags.DEFINE_bool(
    "skip_bad",
    False,
    f"Leave out what cannot be used, and list it in {LEFT_OUT} beside the records.",
)
flags.DEFINE_integer("workers", None, "Processes (default: one for each core).", 1)
flags.DEFINE_string(
    "beam_runner",
    None,
    "Compute the features as an Apache Beam pipeline on this runner (DirectRunner, "
    "DataflowRunner, FlinkRunner, SparkRunner, ...) instead of in local processes.",
)
flags.DEFINE_list(
    "beam_pipeline_options",
    [],
    "The runner's options, such as job_name=prepare,parallelism=8.",
)
flags.mark_flag_as_required("corpus")
FLAGS = flags.FLAGS


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
            segments=0 if short else (result.num_samples - segment) // hop + 1,
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
    return csv_text(("path", "reason"), rows)


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
    return csv_text(("content", "id"), rows)


def csv_text(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


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


def beam_pipeline() -> "apache_beam.Pipeline | None":
    """The pipeline to compute features in, where there is a --beam_runner.

    Raises:
      ValueError: when Apache Beam or what the runner needs is not installed, an option
        is missing, or options come without a runner.
    """
    if not FLAGS.beam_runner:
        if FLAGS.beam_pipeline_options:
            raise ValueError("--beam_pipeline_options needs a --beam_runner")
        return None
    options = [f"runner={FLAGS.beam_runner}", *FLAGS.beam_pipeline_options]
    try:
        import apache_beam as beam  # large, and only this needs it
        from apache_beam.options.pipeline_options import PipelineOptions

        return beam.Pipeline(options=PipelineOptions([f"--{o}" for o in options]))
    except ImportError as error:
        raise ValueError(
            f"--beam_runner={FLAGS.beam_runner} needs Apache Beam ({error}). "
            "Install it: pip install -e .[beam]"
        ) from error


def prepare(
    config: builder.SpeechEmotionConfig,
    workers: int,
    pipeline: "apache_beam.Pipeline | None",
) -> tuple[pathlib.Path, bool]:
    """Checks the corpus and writes the data set, unless it is there already.

    Args:
      config: what to prepare.
      workers: processes that decode, and compute where there is no pipeline.
      pipeline: computes instead.

    Returns:
      The data set's folder, and whether it was there.
    """
    data_dir = pathlib.Path(FLAGS.data_dir).expanduser()
    folder = data_dir / builder.SpeechEmotion.name / config.name
    folder /= str(builder.SpeechEmotion.VERSION)
    if folder.exists():
        return folder, True
    source = FLAGS.source
    if config.corpus == "demo":
        source = source or data_dir / "demo_corpus"
    elif not source:
        raise ValueError(f"--source is needed: the folder that holds {config.corpus}")
    corpus = CORPORA[config.corpus].read(source)
    usable, problems, converted = check_all(corpus, workers)
    for form, count in sorted(converted.items()):
        print(f"converted to 16 kHz mono: {count} recordings of {form}")
    left_out = refuse_or_list(problems, FLAGS.skip_bad)
    if not usable:
        raise ValueError("nothing was written: no recording is left.")
    warn_of_counts(config.corpus, usable)
    usable = keep_emotions(usable, config.emotions)
    notes = {
        SUMMARY: table(usable, config.segment, config.hop),
        LEFT_OUT: left_out,
        IDENTICAL: list_identical(usable),
    }
    notes = {name: text for name, text in notes.items() if text}
    splits: dict[str, list[Utterance]] = {}
    for result in usable:
        split = split_of(result.utterance)
        splits.setdefault(split, []).append(result.utterance)
    tfds.disable_progress_bar()  # the builder shows its own
    with contextlib.redirect_stdout(None):  # TFDS speaks of downloads
        builder.SpeechEmotion(
            splits, config, data_dir, workers, notes, pipeline
        ).download_and_prepare()
    return folder, False


def build() -> None:
    """Reads the flags, prepares the data set, and prints its table."""
    start = time.time()
    features.check_kind(FLAGS.features)
    config = builder.SpeechEmotionConfig(
        corpus=FLAGS.corpus,
        features=FLAGS.features,
        segment=FLAGS.segment,
        hop=FLAGS.hop,
        pad_mode=FLAGS.pad_mode,
        emotions=tuple(FLAGS.emotions),
    )
    workers = FLAGS.workers or joblib.cpu_count()
    folder, was_there = prepare(config, workers, beam_pipeline())
    print((folder / SUMMARY).read_text())
    if was_there:
        print(f"{folder} was prepared before; delete it to prepare it again.")
    else:
        print(f"{folder} prepared in {time.time() - start:.1f} s.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    # A job that runs elsewhere tells in its log where, and how far it is.
    logging.set_verbosity(logging.INFO if FLAGS.beam_runner else logging.ERROR)
    # A killed job ends like Ctrl-C, so that neither half a data set nor workers stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        build()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    app.run(main)
