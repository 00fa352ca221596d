"""Tables as grids of trainings: what to train, what is done, and training the rest."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
import time
from collections.abc import Callable, Sequence

import ml_collections
import tabulate

from data_prep import claims
from glam_jax import models, prepared, results, tables, values


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as a grid of configs.

    Attributes:
      models: The models of its rows; `models.FLOOR` is a row that is no network.
      recipe: The model whose published recipe all have; '' for each its own.
      alphas: Mixup's alphas, which are the rows of a table of one model.
      protocols: The protocols of its parts.
      every_part: Whether a corpus in several TFDS splits (IEMOCAP's improvised and
        scripted speech) is trained on by each split and then all; else by the first.
      runs: Runs of each training, where the config names none; 0: each fold once.
    """

    models: tuple[str, ...]
    recipe: str = ""
    alphas: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ("paper",)
    every_part: bool = True
    runs: int = 100


_PAPERS = ("apcnn", "mhcnn", "aacnn", "glam")
_ABLATIONS = (
    "multiscale",
    "multiscale_mha",
    "multiscale_aa",
    "glam",
    "glam_single_scale",
    "glam_no_residual",
    "glam5",
)
_ALPHAS = ("0", "0.3", "0.5", "0.8", "1", "2", "3")
TABLES = {
    "main": Table(_PAPERS),
    "split811": Table(_PAPERS, protocols=("paper_811",)),
    "ablation": Table(_ABLATIONS, every_part=False),
    "alpha": Table(("glam",), alphas=_ALPHAS, every_part=False),
    "honest": Table((*_PAPERS, models.FLOOR), protocols=("session", "speaker"), runs=0),
    "fair": Table((*models.MODELS, models.FLOOR), recipe="glam"),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a table.

    Attributes:
      row: The name of its row.
      config: What to train.
    """

    row: str
    config: ml_collections.ConfigDict

    def folder(self, out: pathlib.Path) -> pathlib.Path:
        """Where it is trained, whichever table it is in."""
        fields = self.config.to_dict()
        for name in values.WITHOUT_EFFECT:
            del fields[name]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        names = [
            fields["corpus"],
            "-".join(fields["tfds_splits"]),
            fields["model"].replace(":", "."),  # of one's own
            fields["protocol"],
            digest.hexdigest()[:8],
        ]
        return out / "cells" / "_".join(names)


def choose_models(name: str, chosen: Sequence[str]) -> Table:
    """A table by its name, with other models in its rows.

    Args:
      name: A name in `TABLES`.
      chosen: Names in `models.MODELS`, or package.module:Class; empty for the table's.

    Raises:
      ValueError: For an unknown table or model, or a table that is not of models.
    """
    if name not in TABLES:
        raise ValueError(
            f"one table is needed, not {name or 'nothing'}; there are "
            f"{', '.join(TABLES)} (--help explains them)"
        )
    table = TABLES[name]
    if not chosen:
        return table
    if table.alphas:
        raise ValueError(f"the rows of table {name} are no models: leave --models out")
    for model in chosen:
        if model != models.FLOOR:
            models.row(model)
    return dataclasses.replace(table, models=tuple(dict.fromkeys(chosen)))


def cells(
    table: Table, make_config: Callable[[str], ml_collections.ConfigDict]
) -> list[Cell]:
    """The trainings of a table, in the order of its parts and rows.

    Args:
      table: The table.
      make_config: From 'model=NAME,recipe=NAME', or '', to a config.
    """
    recipe = f",recipe={table.recipe}" if table.recipe else ""
    made = []
    whole = make_config("")
    prepared.complete(whole)
    for protocol, part in itertools.product(
        table.protocols, _parts(table, whole.tfds_splits)
    ):
        for model, alpha in itertools.product(table.models, table.alphas or ("",)):
            if model == models.FLOOR:
                config = prepared.of_functionals(make_config(""))
            else:
                config = make_config(f"model={model}{recipe}")
            config.protocol, config.tfds_splits = protocol, part
            if not any(config.label_sets.values()):
                config.classes = whole.classes
            config.num_runs = config.num_runs or table.runs
            if alpha:
                config.mixup_alpha = float(alpha)
            made.append(Cell(alpha or model, config))
    return made


def _parts(table: Table, tfds_splits: tuple[str, ...]) -> list[tuple[str, ...]]:
    each: list[tuple[str, ...]] = [(split,) for split in tfds_splits]
    if not table.every_part:
        return each[:1]
    return list(dict.fromkeys([*each, tuple(tfds_splits)]))


def shard(grid: Sequence[Cell], text: str) -> list[Cell]:
    """Every n-th cell, for the tasks of an array job; all cells for ''.

    Args:
      grid: The cells.
      text: 'i/n', i from 0: cells i, i + n, i + 2n, ...

    Raises:
      ValueError: For anything else.
    """
    if not text:
        return list(grid)
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise ValueError(
            f"--shard must be i/n with i from 0 to n - 1, such as 0/4, not {text!r}"
        )
    return list(grid[int(found[1]) :: int(found[2])])


def is_finished(folder: pathlib.Path) -> bool:
    """Whether a training is finished, and has its report."""
    return (folder / results.REPORT).exists()


def state(folder: pathlib.Path) -> str:
    """How far a training is, in words."""
    if is_finished(folder):
        return "finished"
    if owner := claims.owner(folder):
        return f"in training by {owner}"
    return "begun" if (folder / "metrics.jsonl").exists() else "not begun"


def listing(grid: Sequence[Cell], out: pathlib.Path) -> str:
    """The cells as a table of text: what each trains, and how far it is.

    Args:
      grid: The cells.
      out: The folder of all trainings and tables.
    """
    lines = [
        {
            "row": cell.row,
            "corpus": cell.config.corpus,
            "splits": "+".join(cell.config.tfds_splits),
            "protocol": cell.config.protocol,
            "runs": str(cell.config.num_runs or "each fold"),
            "epochs": str(cell.config.num_epochs),
            "state": state(cell.folder(out)),
            "folder": str(cell.folder(out)),
        }
        for cell in grid
    ]
    return tabulate.tabulate(lines, headers="keys", disable_numparse=True)


def reproduce(
    name: str, grid: Sequence[Cell], mine: Sequence[Cell], out: pathlib.Path
) -> None:
    """Trains what is missing of a table, and writes what of the table is finished.

    A training whose loss is not finite, whose protocol its data do not allow, or which
    another process trains is left out.

    Args:
      name: The name of the table.
      grid: Its trainings.
      mine: Those that this process is to train.
      out: The folder of all trainings and tables.

    Raises:
      ValueError: Before any training, when data sets are missing or a model cannot be
        made; at the end, when a loss was not finite.
    """
    todo = [cell for cell in mine if not is_finished(cell.folder(out))]
    check(todo)
    print(
        f"table {name}: {len(mine)} trainings, {len(mine) - len(todo)} of them finished"
    )
    failed = train(todo, out)
    write(name, grid, out)
    if failed:
        raise ValueError("these trainings are not in the table:\n" + "\n".join(failed))


def check(todo: Sequence[Cell]) -> None:
    """Finds what would end a training at once; see `reproduce`."""
    for model in dict.fromkeys(cell.config.model for cell in todo):
        if model != models.FLOOR:
            models.create_model(model)
    missing = [m for cell in todo for m in prepared.missing(cell.config)]
    if missing:
        commands = list(dict.fromkeys(missing))
        data_dir = todo[0].config.data_dir
        raise ValueError(prepared.not_prepared(commands, data_dir))


def train(todo: Sequence[Cell], out: pathlib.Path) -> list[str]:
    """Trains cells one after the other.

    Returns:
      Those whose loss was not finite, with the reason.
    """
    from glam_jax import linear, progress, splits  # importing JAX takes seconds
    from glam_jax import train as train_lib

    start, failed, trained = time.monotonic(), [], 0
    for number, cell in enumerate(todo):
        folder = cell.folder(out)
        left = ""
        if trained:
            seconds = (time.monotonic() - start) / trained * (len(todo) - number)
            left = f", about {progress.duration(seconds)} left"
        print(f"\ntraining {number + 1} of {len(todo)}: {folder}{left}")
        try:
            if cell.config.model == models.FLOOR:
                linear.train_and_evaluate(cell.config, folder)
            else:
                train_lib.train_and_evaluate(cell.config, str(folder))
            trained += 1
        except (claims.Held, splits.Impossible) as error:
            print(f"passed over: {error}")
        except FloatingPointError as error:
            print(f"left out: {error}")
            failed.append(f"  {folder}: {error}")
    return failed


def write(name: str, grid: Sequence[Cell], out: pathlib.Path) -> None:
    """Writes the table of what is finished, one process at a time, and prints it."""
    with claims.hold(out / name, patience=300):
        finished = [
            results.read(cell.folder(out), name=cell.row)
            for cell in grid
            if is_finished(cell.folder(out))
        ]
        if finished:
            parts = tables.in_parts(finished)
            print("\n" + tables.write(out / name, name, parts))
            print(f"All files: {out / name}")
    if len(finished) < len(grid):
        count = len(grid) - len(finished)
        print(f"{count} of {len(grid)} trainings are not in the table; see --list")
