r"""Trains on each of some corpora and tests on each of them. For example:

  python -m glam_jax.cross --corpora=emodb,emovo,urdu \
      --config.classes="sad=sadness,sad angry=anger,angry" --config.num_epochs=30
  python -m glam_jax.cross --corpora=emodb,mine --config=configs/base.py:model=mhcnn
  python -m glam_jax.cross --corpora=emodb,emovo,urdu --list       # what is done

A model for each corpus is trained on all of it (protocol everything) and tested on the
others. On the diagonal stands what a corpus gives on speakers that were held out
(speaker_folds; where speakers are not known, another protocol, which is said), or what
--config.protocol gives. Classes are those that all corpora have; config.classes says
which words are the same emotion. config.num_runs is the number of seeds (0: one); on
the diagonal each fold has one.

Writes matrix.md, .tex, .csv, .png and .pdf to OUT/CORPORA. Finished trainings and tests
are kept in OUT/cells; a second call goes on, and several may work at once.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import re

from absl import app, flags
from ml_collections import config_flags

from data_prep import paths
from glam_jax import command, crossing, grid

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    config_flags.DEFINE_config_file(
        "config", None, "Config file, with an argument after a colon (default: base)."
    )
    flags.DEFINE_list("corpora", [], "The names of the prepared corpora.")
    flags.DEFINE_bool("list", False, "Only shows the trainings, and what is done.")
    flags.DEFINE_string("shard", "", "i/n: every n-th training, from the i-th.")
    flags.DEFINE_string("out", "crossed", "Folder of the trainings and matrices.")


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; without --config it is GLAM's recipe."""
    program, *arguments = argv
    if not any(re.match("--?config(=|$)", argument) for argument in arguments):
        arguments = [f"--config={command.CONFIGS / 'base.py'}", *arguments]
    return command.parse([program, *arguments])


def cross() -> None:
    """Does what the flags say.

    Raises:
      ValueError: When it cannot be done, with the reason.
    """
    out = paths.local(FLAGS.out, "--out")
    overrides = config_flags.get_override_values(FLAGS["config"])
    for field in ("corpus", "tfds_splits", "split_file"):
        if field in overrides:
            raise ValueError(
                f"--config.{field} is not for all corpora; leave it out (--corpora)"
            )
    protocol = overrides.get("protocol", "")
    planned = crossing.plan(FLAGS.config, FLAGS.corpora, protocol)
    mine = grid.shard(planned.cells, FLAGS.shard)
    if FLAGS.list:
        done = sum(grid.is_finished(cell.folder(out)) for cell in mine)
        print(grid.listing(mine, out))
        print(f"{len(mine)} trainings, {done} of them finished")
        return
    command.set_up_jax()
    crossing.cross(planned, mine, out)


def main(argv: list[str]) -> None:
    def run() -> None:
        if argv[1:]:
            raise ValueError(f"{argv[1]}: name the corpora by --corpora=NAME,NAME")
        cross()

    command.run(run)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse)
