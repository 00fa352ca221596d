r"""Reproduces a table: trains every model in it over many runs, and compares them.

  python -m glam_jax.reproduce main                      # the paper's, on IEMOCAP
  python -m glam_jax.reproduce fair --config.num_runs=10 --config.num_epochs=30
  python -m glam_jax.reproduce main --config=configs/emodb.py --config.num_runs=2 \
      --config.num_epochs=1                              # smoke test
  python -m glam_jax.reproduce fair --models=glam,my_module:MyNet --config=mine.py
  python -m glam_jax.reproduce main --list               # what is done
  python -m glam_jax.reproduce main --shard=$SLURM_ARRAY_TASK_ID/12
  python -m glam_jax.reproduce plus --corpora=emodb,mine --seeds=1

Tables:
  main      apcnn, mhcnn, aacnn and glam, each with its published recipe
  split811  as main, with the epoch chosen on validation utterances (8:1:1)
  ablation  glam, its ablations and variants
  alpha     glam with mixup alpha from 0 to 3
  honest    as main, with a session left out, then a speaker
  fair      all models with GLAM's recipe
  plus      a linear floor, glam, glam with the recipe of glam_plus, and glam_plus
  ingredients  a model with its recipe (glam, config's or that of --models), and what
            may help it, one thing at a time: added, or taken away where it has it

config.num_runs is 100 where it is 0 (honest: each fold once). In plus and ingredients
speakers are held out, each of them or five groups of more than 12, and --seeds times
each fold is trained. A corpus in several TFDS splits is trained on by each of them and
by all (ablation, alpha: by the first; plus, ingredients: by all).

Writes table.md, table.csv, table.tex, pairs.csv and figures to OUT/TABLE. Finished
trainings are kept in OUT/cells, and several tables share them; a second call trains
what is missing, and an interrupted one goes on where it stopped. Several calls may work
at one OUT at once: each training belongs to one of them.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from data_prep import paths
from glam_jax import command, grid, ingredients, values

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config file, with an argument after a colon (default: the paper's, IEMOCAP "
        "full).",
    )
    flags.DEFINE_list(
        "corpora",
        [],
        "Prepared corpora, each by its own config file, or configs/table.py:NAME.",
    )
    flags.DEFINE_integer(
        "seeds", 3, "Of each fold, in plus and ingredients.", lower_bound=1
    )
    flags.DEFINE_list(
        "models",
        [],
        "Models instead of the table's: names, or package.module:Class. Of ingredients "
        "one, whose recipe is taken apart.",
    )
    flags.DEFINE_bool("list", False, "Only shows the trainings, and what is done.")
    flags.DEFINE_string("shard", "", "i/n: every n-th training, from the i-th.")
    flags.DEFINE_string("out", "reproduced", "Folder of the trainings and tables.")


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; without --config it is the paper's."""
    program, *arguments = argv
    if not any(re.match("--?config(=|$)", argument) for argument in arguments):
        arguments = [f"--config={command.CONFIGS / 'iemocap.py'}:full", *arguments]
    return command.parse([program, *arguments])


def config_files() -> list[str]:
    """The config file of each corpus, with its argument."""
    if not FLAGS.corpora:
        return [config_flags.get_config_filename(FLAGS["config"])]
    files = {name: command.CONFIGS / f"{name}.py" for name in FLAGS.corpora}
    return [
        str(file) if file.is_file() else f"{command.CONFIGS / 'table.py'}:{name}"
        for name, file in files.items()
    ]


def config_maker(
    table: grid.Table, config_file: str
) -> Callable[[str], ml_collections.ConfigDict]:
    """A function from 'model=NAME,recipe=NAME' to a config with them.

    Args:
      table: The table.
      config_file: The config file, with an argument after a colon.

    Raises:
      ValueError: When a flag sets what the table sets.
    """
    own = {"protocol"}.union(*(row.fields for row in table.rows))
    for row in table.rows:
        own |= ingredients.INGREDIENTS.get(row.ingredient, {}).keys()
    own |= {"model"} if any(row.model for row in table.rows) else set()
    flag = flags.FLAGS["config"]
    file, _, argument = config_file.partition(":")
    overrides = config_flags.get_override_values(flag)
    if taken := sorted(own & overrides.keys()):
        raise ValueError(
            f"the table sets config.{taken[0]} itself; leave --config.{taken[0]} out"
        )

    def make(options: str) -> ml_collections.ConfigDict:
        words = ",".join(filter(None, [argument, options]))
        try:
            config: Any = flag.parser.parse(f"{file}:{words}" if words else file)
        except (TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"{file} gives no config for {words!r} ({reason}); its get_config must "
                "hand its argument on to get_config of configs/base.py"
            ) from error
        config.update_from_flattened_dict(overrides)
        return config

    return make


def reproduce(name: str) -> None:
    """Trains or lists the cells of a table, as the flags say."""
    out = paths.local(FLAGS.out, "--out")
    table = grid.choose_models(name, FLAGS.models)
    table = dataclasses.replace(table, seeds=FLAGS.seeds)
    cells = [
        cell
        for file in config_files()
        for cell in grid.cells(table, config_maker(table, file))
    ]
    mine = grid.shard(cells, FLAGS.shard)
    for cell in mine:
        values.check(cell.config)
    if not FLAGS.list:
        command.set_up_jax()
        grid.reproduce(name, cells, mine, out)
        return
    done = sum(grid.is_finished(cell.folder(out)) for cell in mine)
    print(grid.listing(mine, out))
    print(f"{len(mine)} trainings, {done} of them finished")


def main(argv: list[str]) -> None:
    command.run(lambda: reproduce(" ".join(argv[1:])))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parse)
