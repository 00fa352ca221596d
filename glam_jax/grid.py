"""Tables as grids of trainings: what to train, what is done, and training the rest."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_collections
import tabulate

from data_prep import claims
from glam_jax import ensembles, ingredients, models, prepared, results, tables, values


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      name: What the table calls it.
      model: The model, `models.FLOOR` for a row that is no network; '' for the
        config's own.
      recipe: The model whose recipe it has; '' for the model's own.
      fields: What else differs in its config, by the field.
      ingredient: What is added to its config, or taken away: a name in
        `ingredients.INGREDIENTS`, or '' for nothing.
    """

    name: str
    model: str = ""
    recipe: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ingredient: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as a grid of configs.

    Attributes:
      rows: Its rows.
      protocols: The protocols of its parts; '' for speakers held out, see
        `prepared.hold_out_speakers`.
      parts: Of a corpus in several TFDS splits (IEMOCAP's improvised and scripted
        speech), what is trained on: 'each' split and then all, the 'first', or 'all'.
      runs: Runs of each training, where the config names none; 0: each fold once.
      seeds: Of each fold, where speakers are held out.
    """

    rows: tuple[Row, ...]
    protocols: tuple[str, ...] = ("paper",)
    parts: str = "each"
    runs: int = 100
    seeds: int = 3

    @property
    def of_models(self) -> bool:
        """Whether each row is a model, so that others can take their place."""
        return all(row.name == row.model for row in self.rows)

    @property
    def of_ingredients(self) -> bool:
        """Whether each row is an ingredient of one model's recipe."""
        return all(row.ingredient for row in self.rows)


def _of_models(names: Iterable[str], recipe: str = "") -> tuple[Row, ...]:
    return tuple(Row(name, name, recipe) for name in names)


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
    "main": Table(_of_models(_PAPERS)),
    "split811": Table(_of_models(_PAPERS), ("paper_811",)),
    "ablation": Table(_of_models(_ABLATIONS), parts="first"),
    "alpha": Table(
        tuple(Row(a, "glam", "", {"mixup_alpha": float(a)}) for a in _ALPHAS),
        parts="first",
    ),
    "honest": Table(
        _of_models([*_PAPERS, models.FLOOR]), ("session", "speaker"), runs=0
    ),
    "fair": Table(_of_models([*models.MODELS, models.FLOOR], recipe="glam")),
    "plus": Table(
        (
            Row(models.FLOOR, models.FLOOR),
            Row("glam", "glam"),
            Row("glam, recipe of glam_plus", "glam", "glam_plus"),
            Row("glam_plus", "glam_plus"),
        ),
        ("",),
        parts="all",
    ),
    "ingredients": Table(
        tuple(Row(name, ingredient=name) for name in ingredients.INGREDIENTS),
        ("",),
        parts="all",
    ),
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
        For a table of ingredients one, with its recipe.

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
    for model in chosen:
        if model != models.FLOOR:
            models.row(model)
    if table.of_ingredients:
        if len(chosen) > 1 or models.FLOOR in chosen:
            raise ValueError(f"table {name} is of one network: --models=glam_plus")
        rows = [dataclasses.replace(row, model=chosen[0]) for row in table.rows]
        return dataclasses.replace(table, rows=tuple(rows))
    if not table.of_models:
        raise ValueError(f"the rows of table {name} are no models: leave --models out")
    rows = _of_models(dict.fromkeys(chosen), table.rows[0].recipe)
    return dataclasses.replace(table, rows=rows)


def cells(
    table: Table, make_config: Callable[[str], ml_collections.ConfigDict]
) -> list[Cell]:
    """The trainings of a table on a corpus, in the order of its parts and rows.

    Args:
      table: The table.
      make_config: From 'model=NAME,recipe=NAME', or '', to a config.
    """
    made = []
    whole = make_config("")
    prepared.complete(whole)
    for protocol, part in itertools.product(
        table.protocols, _parts(table, whole.tfds_splits)
    ):
        runs = table.runs
        holds_out = not protocol
        if holds_out:
            protocol, folds = prepared.hold_out_speakers(whole)
            runs = table.seeds * folds
        for row in table.rows:
            config, name = _config(row, make_config), row.name
            if row.ingredient:
                if not ingredients.fits(row.ingredient, config):
                    continue
                name = ingredients.toggle(row.ingredient, config)
            config.protocol, config.tfds_splits = protocol, part
            if protocol == "speaker_folds":
                config.num_folds = whole.num_folds
            if not any(config.label_sets.values()):
                config.classes = whole.classes
            is_floor = config.model == models.FLOOR
            if not (is_floor and holds_out):  # a seed changes nothing: each fold once
                config.num_runs = config.num_runs or runs
            made.append(Cell(name, config))
    return made


def _config(
    row: Row, make_config: Callable[[str], ml_collections.ConfigDict]
) -> ml_collections.ConfigDict:
    if row.model == models.FLOOR:
        return prepared.of_functionals(make_config(""))
    options = {"model": row.model, "recipe": row.recipe}
    config = make_config(",".join(f"{key}={v}" for key, v in options.items() if v))
    config.update_from_flattened_dict(row.fields)
    return config


def _parts(table: Table, tfds_splits: tuple[str, ...]) -> list[tuple[str, ...]]:
    each: list[tuple[str, ...]] = [(split,) for split in tfds_splits]
    whole = [tuple(tfds_splits)]
    if table.parts == "each":
        return list(dict.fromkeys(each + whole))
    return whole if table.parts == "all" else each[:1]


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
    todo = [cell for cell in mine if not results.is_whole(cell.folder(out))]
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


def _with_ensembles(trainings: Sequence[results.Training]) -> list[results.Training]:
    """The same, each followed by the mean of its seeds where folds have several."""
    rows = []
    for training in trainings:
        rows.append(training)
        is_network = training.report["model"] != models.FLOOR
        is_last = training.report["selection"] == "last"
        if is_network and is_last and ensembles.seeds(training) > 1:
            rows.append(ensembles.of_folds(training))
    return rows


def write(name: str, grid: Sequence[Cell], out: pathlib.Path) -> None:
    """Writes the table of what is finished, one process at a time, and prints it."""
    with claims.hold(out / name, patience=300):
        finished = [
            results.read(cell.folder(out), name=cell.row)
            for cell in grid
            if is_finished(cell.folder(out))
        ]
        if finished:
            rows = (
                finished if TABLES[name].of_ingredients else _with_ensembles(finished)
            )
            print("\n" + tables.write(out / name, name, tables.in_parts(rows)))
            print(f"All files: {out / name}")
    if len(finished) < len(grid):
        count = len(grid) - len(finished)
        print(f"{count} of {len(grid)} trainings are not in the table; see --list")
