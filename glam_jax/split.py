r"""Writes the splits of a protocol as a file, and says what is on both sides.

  python -m glam_jax.split --config=configs/emodb.py --config.protocol=speaker \
      --out=emodb_speaker.csv
  python -m glam_jax.main --config=configs/emodb.py --config.protocol=speaker \
      --config.split_file=emodb_speaker.csv

A row is an utterance and a column a split; cells hold train, validation, test or
nothing. config.num_runs is the number of splits; 0 means each fold once, or one random
split. The corpus must be prepared (python -m data_prep.build).
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from data_prep import text
from glam_jax import command

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an argument after a colon.", lock_config=True
)
_OUT = flags.DEFINE_string(
    "out", None, "The file to write (default: CORPUS_PROTOCOL.csv)."
)
flags.mark_flag_as_required("config")


def write(config, path: pathlib.Path) -> None:
    """Writes the splits of a config, and prints the leakage of each."""
    # Not before the flags are read: importing these takes seconds.
    from glam_jax import input_pipeline, runs, splits
    from glam_jax.splits import leakage, split_files

    if config.num_runs < 0:
        raise ValueError(f"config.num_runs must not be negative, not {config.num_runs}")
    splits.protocol(config.protocol)
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
        print(f"{name}: {', '.join(counts)}; {leakage.describe(both_sides)}")
    print(f"{path}: SHA-256 {split_files.digest(table)}")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    logging.set_verbosity(logging.ERROR)
    try:
        config = _CONFIG.value
        out = _OUT.value or f"{config.corpus}_{config.protocol}.csv"
        write(config, pathlib.Path(out).expanduser())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=command.parse)
