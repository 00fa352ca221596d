r"""Writes the splits of a protocol as a file, and says what is on both sides.

  python -m glam_jax.split --config=configs/emodb.py --config.protocol=speaker \
      --out=emodb_speaker.csv
  python -m glam_jax.main --config=configs/emodb.py --config.protocol=speaker \
      --config.split_file=emodb_speaker.csv

A row is an utterance and a column a split; cells hold train, validation, test or
nothing. config.num_runs is the number of splits; 0 means each fold once, or one random
split. The corpus must be prepared (python -m data_prep.build).
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

from absl import app, flags

from data_prep import paths, text
from glam_jax import command, values

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    command.define_config()
    flags.DEFINE_string(
        "out", None, "The file to write (default: CORPUS_PROTOCOL.csv)."
    )


def write() -> None:
    """Writes the splits of the flags' config, and prints the leakage of each."""
    config = FLAGS.config
    values.check(config)
    name = FLAGS.out or f"{config.corpus}_{config.protocol}.csv"
    path = paths.local(name, "--out")
    # Not before the flags are read: importing these takes seconds.
    from glam_jax import input_pipeline, runs
    from glam_jax.splits import leakage, split_files

    dataset = input_pipeline.load(config)
    all_runs = runs.plan(config, dataset)
    table = runs.split_table(all_runs, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(path, table)
    for name, run in zip(runs.names(all_runs), all_runs, strict=True):
        counts = [
            f"{len(getattr(run.split, part))} {part}"
            for part in split_files.PARTS
            if len(getattr(run.split, part))
        ]
        both_sides = leakage.measure([run.split], dataset.groups)
        found = ", ".join(counts) + f"; {leakage.describe(both_sides)}"
        print(f"{text.printable(name)}: {found}")
    print(f"{path}: SHA-256 {split_files.digest(table)}")


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, write)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
