r"""Reproduces a table: trains every model in it over many runs, and compares them.

  python -m glam_jax.reproduce main                      # the paper's, on IEMOCAP
  python -m glam_jax.reproduce fair --runs=10 --epochs=30
  python -m glam_jax.reproduce main --corpus=emodb --runs=2 --epochs=1    # smoke test

Tables:
  main      apcnn, mhcnn, aacnn and glam, each with its published recipe
  split811  as main, with the epoch chosen on validation utterances (8:1:1)
  ablation  glam, its ablations and variants
  alpha     glam with mixup alpha from 0 to 3
  honest    as main, with a session left out, then a speaker
  fair      all models with GLAM's recipe

Writes table.md, table.csv, table.tex and pairs.csv to OUT/TABLE. Finished trainings are
kept in OUT/cells, and several tables share them; a second call trains what is missing,
and an interrupted one goes on where it stopped.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time

import ml_collections
from absl import app, flags, logging

import configs
from configs import iemocap
from glam_jax import command, models, workdir


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as a grid of configs.

    Attributes:
      rows: the options of each row's config (glam_jax/models), by its name.
      field: the field of the config that is set to the row's name, '' for none.
      protocols: of its parts.
      subsets: of IEMOCAP, of its parts.
      runs: by default.
    """

    rows: dict[str, str]
    field: str = ""
    protocols: tuple[str, ...] = ("paper",)
    subsets: tuple[str, ...] = tuple(iemocap.TFDS_SPLITS)
    runs: int = 100


_PAPERS = {name: f"model={name}" for name in ("apcnn", "mhcnn", "aacnn", "glam")}
_ABLATIONS = {
    name: f"model={name}"
    for name in (
        "multiscale",
        "multiscale_mha",
        "multiscale_aa",
        "glam",
        "glam_single_scale",
        "glam_no_residual",
        "glam5",
    )
}
_ALPHAS = dict.fromkeys(("0", "0.3", "0.5", "0.8", "1", "2", "3"), "model=glam")
TABLES = {
    "main": Table(_PAPERS),
    "split811": Table(_PAPERS, protocols=("paper_811",)),
    "ablation": Table(_ABLATIONS, subsets=("impro",)),
    "alpha": Table(_ALPHAS, field="mixup_alpha", subsets=("impro",)),
    "honest": Table(_PAPERS, protocols=("session", "speaker"), runs=0),
    "fair": Table({name: f"model={name},recipe=glam" for name in models.MODELS}),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a table.

    Attributes:
      row: its name there.
      subset: of IEMOCAP, '' for another corpus.
      config: what to train.
    """

    row: str
    subset: str
    config: ml_collections.ConfigDict

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        """Where it is trained, whichever table it is in."""
        fields = self.config.to_dict()
        for name in workdir.WITHOUT_EFFECT:
            del fields[name]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        names = [fields["corpus"], self.subset, fields["model"], fields["protocol"]]
        name = "_".join([*filter(None, names), digest.hexdigest()[:8]])
        return out / "cells" / name


def cells(
    table: Table, corpus: str, runs: int | None, epochs: int, data_dir: str
) -> list[Cell]:
    """The trainings of a table on a corpus, in the order of its parts and rows."""
    made = []
    for protocol in table.protocols:
        if protocol == "session" and corpus not in configs.WITH_SESSIONS:
            continue
        for subset in table.subsets if corpus == "iemocap" else ("",):
            for row, options in table.rows.items():
                argument = f"{subset},{options}" if subset else options
                config = configs.CORPORA[corpus](argument)
                config.update(
                    protocol=protocol,
                    num_runs=table.runs if runs is None else runs,
                    num_epochs=epochs,
                    data_dir=data_dir,
                )
                if table.field:
                    config[table.field] = float(row)
                made.append(Cell(row, subset, config))
    return made


def reproduce(name: str, grid: list[Cell], out: pathlib.Path) -> None:
    """Trains what is missing of a table, and writes it.

    A training whose loss is not finite is left out of the table.

    Args:
      name: of the table.
      grid: its trainings.
      out: folder of all trainings and tables.

    Raises:
      ValueError: before any training when data sets are missing, at the end when
        trainings were left out.
    """
    # Not before the flags are read: importing JAX takes seconds.
    from glam_jax import input_pipeline, progress, tables, train

    missing = [m for cell in grid for m in input_pipeline.missing(cell.config)]
    if missing:
        raise ValueError(input_pipeline.not_prepared(list(dict.fromkeys(missing))))
    done = [(cell.folder(out) / workdir.REPORT).exists() for cell in grid]
    print(f"table {name}: {len(grid)} trainings, {sum(done)} of them finished")
    start, trained, rows, failed = time.time(), 0, [], []
    for number, cell in enumerate(grid):
        folder = cell.folder(out)
        if not done[number]:
            left = ""
            if trained:
                seconds = (time.time() - start) / trained
                left = seconds * (len(grid) - number - sum(done[number:]))
                left = f", about {progress.duration(left)} left for the table"
            print(f"\ntraining {number + 1} of {len(grid)}: {folder}{left}")
            trained += 1
        try:
            report = train.train_and_evaluate(cell.config, str(folder))
        except FloatingPointError as error:
            print(f"left out: {error}")
            failed.append(f"  {folder}: {error}")
            continue
        rows.append(tables.Row(cell.row, cell.subset, folder, report))
    if rows:
        print("\n" + tables.write(out / name, name, rows))
        print(f"All files: {out / name}")
    if failed:
        raise ValueError("these trainings are not in the table:\n" + "\n".join(failed))


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[1] not in TABLES:
        given = " ".join(argv[1:]) or "nothing"
        sys.exit(
            f"error: one table is needed, not {given}; there are {', '.join(TABLES)} "
            "(--help explains them)"
        )
    logging.set_verbosity(logging.ERROR)
    options = flags.FLAGS
    grid = cells(
        TABLES[argv[1]],
        options.corpus,
        options.runs,
        options.epochs,
        options.data_dir,
    )
    command.run(lambda: reproduce(argv[1], grid, pathlib.Path(options.out)))


def define_flags() -> None:
    """Defines the flags of the command; other modules have flags of the same names."""
    flags.DEFINE_enum("corpus", "iemocap", list(configs.CORPORA), "Which corpus.")
    flags.DEFINE_integer(
        "runs",
        None,
        "Runs of each model (default: 100; for honest 0, which is every fold once).",
        0,
    )
    flags.DEFINE_integer("epochs", 50, "Epochs of each run.", 1)
    flags.DEFINE_string("data_dir", "data", "Folder of the data sets.")
    flags.DEFINE_string("out", "reproduced", "Folder of the trainings and tables.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
