r"""Writes the splits of a protocol as a file, and says what is on both sides.

  python -m glam_jax.splits --corpus=emodb --protocol=speaker --out=emodb_speaker.csv
  python -m glam_jax.main --config=configs/emodb.py --config.protocol=speaker \
      --config.split_file=emodb_speaker.csv

A row is an utterance and a column a split; cells hold train, validation, test or
nothing. The corpus must be prepared (python -m data_prep.build).
"""

import pathlib
import sys

from absl import app, flags, logging

import configs
from glam_jax import input_pipeline, runs, splits, workdir
from glam_jax.splits import files, leakage

flags.DEFINE_enum("corpus", None, list(configs.CORPORA), "Which corpus.")
flags.DEFINE_string("options", "", "Its config's argument, such as script for iemocap.")
flags.DEFINE_enum("protocol", "paper", list(splits.PROTOCOLS), "How to split.")
flags.DEFINE_integer(
    "runs", 0, "Splits; run k has seed k. 0: each fold once, or one random split.", 0
)
flags.DEFINE_integer("num_folds", 5, "Folds of speaker_folds.", 2)
flags.DEFINE_string("data_dir", "data", "Folder of the data sets.")
flags.DEFINE_string("out", None, "The file to write (default: CORPUS_PROTOCOL.csv).")
flags.mark_flag_as_required("corpus")
FLAGS = flags.FLAGS


def write() -> None:
    """Reads the flags, writes the file, and prints the leakage of each split."""
    config = configs.CORPORA[FLAGS.corpus]()
    config.protocol = FLAGS.protocol
    config.num_runs = FLAGS.runs
    config.num_folds = FLAGS.num_folds
    config.data_dir = FLAGS.data_dir
    dataset = input_pipeline.load(config)
    all_runs = runs.plan(config, dataset)
    text = runs.split_table(all_runs, dataset)
    path = pathlib.Path(FLAGS.out or f"{FLAGS.corpus}_{FLAGS.protocol}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    workdir.write_atomically(path, text)
    for name, run in zip(runs.names(all_runs), all_runs, strict=True):
        counts = [
            f"{len(getattr(run.split, part))} {part}"
            for part in files.PARTS
            if len(getattr(run.split, part))
        ]
        both_sides = leakage.measure([run.split], dataset.groups)
        print(f"{name}: {', '.join(counts)}; {leakage.describe(both_sides)}")
    print(f"{path}: SHA-256 {files.digest(text)}")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    logging.set_verbosity(logging.ERROR)
    try:
        write()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
