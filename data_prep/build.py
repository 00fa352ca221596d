r"""Turns a corpus folder into TFDS records of features, once, before training.

The corpus is only read. For example:

  python -m data_prep.build --corpus=iemocap --source=/path/to/IEMOCAP_full_release
  python -m data_prep.build --corpus=demo
  python -m data_prep.build --corpus=table --name=mine --labels=mine/labels.csv
  python -m data_prep.build --corpus=table --name=mine --labels=folders --source=mine
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import re
import shlex
import time
from typing import TYPE_CHECKING

from absl import app, flags, logging

from data_prep import command, corpora, features, paths, preparation, records
from data_prep.corpora import table

if TYPE_CHECKING:
    import apache_beam

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    flags.DEFINE_enum(
        "corpus",
        None,
        [*preparation.CORPORA, "table"],
        "Which corpus to read; table: one of your own, see --labels.",
    )
    flags.DEFINE_string("name", None, "For table: how the data set is to be called.")
    flags.DEFINE_string(
        "labels",
        None,
        "For table: a CSV or TSV file with a header and a row for each utterance. Its "
        f"columns: {', '.join(table.COLUMNS)}; {' and '.join(table.NEEDED)} are "
        "needed. Or the word folders: the name of a file's folder is its emotion.",
    )
    flags.DEFINE_list(
        "columns",
        [],
        "For table: what its columns tell, such as file:path,emotion:label. What is "
        "not named is guessed; WHAT: alone is no column.",
    )
    flags.DEFINE_string(
        "source",
        None,
        "Folder of the corpus: the one that holds Session1 ... Session5 (iemocap), wav "
        "(emodb), Actor_01 ... Actor_24 (ravdess) or AudioWAV (crema_d). For demo: "
        "where the synthetic corpus is made if it is not there (default: "
        "DATA_DIR/demo_corpus). For table: where the paths of its files start from "
        "(default: its own folder).",
    )
    flags.DEFINE_string("data_dir", "data", "Folder that receives the data set.")
    flags.DEFINE_string(
        "features",
        "mfcc",
        f"Kind of features: {', '.join(features.KINDS + features.FUNCTIONALS)}, or "
        "package.module:function of "
        "your own.",
    )
    flags.DEFINE_integer("segment", 28800, "Samples in a segment, at 16 kHz.", 1)
    flags.DEFINE_integer("hop", 3199, "Samples between the starts of two segments.", 1)
    flags.DEFINE_enum(
        "pad_mode",
        "reflect",
        features.PAD_MODES,
        "How a segment's ends are padded: reflect as in the paper (librosa before "
        "0.9), constant as in librosa today.",
    )
    flags.DEFINE_list(
        "emotions", [], "The corpus's emotion words to keep (default: all)."
    )
    flags.DEFINE_bool(
        "skip_bad",
        False,
        "Leave out what cannot be used, and list it in "
        f"{preparation.LEFT_OUT} beside the records.",
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


def beam_pipeline(
    runner: str | None, options: list[str]
) -> "apache_beam.Pipeline | None":
    """The pipeline to compute features in, None without a runner.

    Args:
      runner: The name of a runner of Apache Beam.
      options: Its options, as NAME=VALUE.

    Raises:
      ValueError: when Apache Beam or what the runner needs is not installed, an option
        is missing, or options come without a runner.
    """
    if not runner:
        if options:
            raise ValueError("--beam_pipeline_options needs a --beam_runner")
        return None
    options = [f"runner={runner}", *options]
    try:
        import apache_beam as beam  # large, and only this needs it
        from apache_beam.options.pipeline_options import PipelineOptions

        return beam.Pipeline(options=PipelineOptions([f"--{o}" for o in options]))
    except ImportError as error:
        raise ValueError(
            f"--beam_runner={runner} needs Apache Beam ({error}). "
            "Install it: pip install -e .[beam]"
        ) from error


def own_labels() -> table.Labels | None:
    """The labels of a corpus of one's own; None for another corpus.

    Raises:
      ValueError: When the flags for it are missing, wrong, or given without it.
    """
    if FLAGS.corpus != "table":
        for flag in ("name", "labels", "columns"):
            if FLAGS[flag].value:
                raise ValueError(f"--{flag} is for --corpus=table")
        return None
    if not (FLAGS.name and FLAGS.labels):
        raise ValueError(
            "--corpus=table needs --name=NAME and --labels=FILE.csv (or "
            "--labels=folders --source=FOLDER)"
        )
    if not re.fullmatch(r"\w[\w.-]*", FLAGS.name) or FLAGS.name in corpora.readers():
        raise ValueError(
            f"--name={FLAGS.name}: letters, digits, _, - and . are wanted, and none of "
            f"the names {', '.join(corpora.readers())}"
        )
    path = str(paths.local(FLAGS.labels, "--labels"))
    return table.Labels(path, table.parse_columns(FLAGS.columns))


def build() -> None:
    """Reads the flags, prepares the data set, and prints its table."""
    start = time.time()
    source = paths.local(FLAGS.source, "--source") if FLAGS.source else None
    data_dir = paths.local(FLAGS.data_dir, "--data_dir")
    features.check_kind(FLAGS.features)
    labels = own_labels()
    data_set = records.DataSet(
        corpus=FLAGS.name if labels else FLAGS.corpus,
        features=FLAGS.features,
        segment=FLAGS.segment,
        hop=FLAGS.hop,
        pad_mode=FLAGS.pad_mode,
        emotions=tuple(FLAGS.emotions),
    )
    import joblib  # takes a second

    workers = FLAGS.workers or joblib.cpu_count()
    pipeline = beam_pipeline(FLAGS.beam_runner, FLAGS.beam_pipeline_options)
    if pipeline:  # a job that runs elsewhere tells in its log where, and how far it is
        logging.set_verbosity(logging.INFO)
    with paths.written(data_dir, paths.make_room("--data_dir")):
        folder, was_there = preparation.prepare(
            data_set, source, data_dir, FLAGS.skip_bad, workers, pipeline, labels
        )
    if damaged := preparation.damaged_notes(folder):
        raise ValueError(
            f"{damaged[0]} is not what was written: {data_set.how_to_repair(data_dir)}"
        )
    print((folder / preparation.SUMMARY).read_text(encoding="utf-8"))
    if was_there:
        print(f"{folder} was prepared before; delete it to prepare it again.")
    else:
        print(f"{folder} prepared in {time.time() - start:.1f} s.")
    if labels:
        print(f"Train: {how_to_train(data_set)}")


def how_to_train(data_set: records.DataSet) -> str:
    """The command that trains on a data set of one's own, or fits the floor to it."""
    names = ["features", "segment", "hop", "pad_mode"]
    fields = {name: FLAGS[name].value for name in names}
    fields = {n: value for n, value in fields.items() if value != FLAGS[n].default}
    words = [f"--config=configs/table.py:{data_set.corpus}"]
    command = "main"
    if features.is_of_whole(data_set.features):
        command = "floor"
        words.append(f"--features={fields.pop('features')}")
    if data_set.features == "waveform":
        fields["frontend"] = "mfcc"
    if "hop" in fields:
        fields["test_hop"] = fields["hop"]
    if data_set.emotions:
        fields["emotions"] = data_set.emotions
    if FLAGS["data_dir"].present:
        fields["data_dir"] = FLAGS.data_dir
    words += [f"--config.{name}={value}" for name, value in fields.items()]
    return f"python -m glam_jax.{command} {shlex.join(words)}"


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, build)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
