"""Grids of trainings: their cells, and what a second call does."""

import pathlib
import shutil
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from conftest import shorten

import configs
from configs import demo as demo_config
from configs import recipes
from glam_jax import models, reproduce, train

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("table", "on_iemocap", "on_emodb"),
    [
        ("main", 12, 4),
        ("split811", 12, 4),
        ("ablation", 7, 7),
        ("alpha", 7, 7),
        ("honest", 24, 4),
        ("fair", 30, 10),
    ],
)
def test_a_table_has_a_training_for_each_of_its_rows(table, on_iemocap, on_emodb):
    grid = reproduce.TABLES[table]
    for corpus, count in (("iemocap", on_iemocap), ("emodb", on_emodb)):
        made = reproduce.cells(grid, corpus, 2, 1, "data")
        folders = {cell.folder(pathlib.Path()) for cell in made}
        assert len(made) == len(folders) == count


def test_tables_share_the_training_of_glam():
    folders = {
        cell.folder(pathlib.Path())
        for table in ("main", "ablation", "alpha", "fair")
        for cell in reproduce.cells(reproduce.TABLES[table], "emodb", 3, 15, "data")
        if cell.row in ("glam", "0.5")
    }
    assert len(folders) == 1


def test_every_model_has_a_recipe():
    assert recipes.RECIPES.keys() == models.MODELS.keys()


def test_the_published_recipe_of_a_model_and_that_of_glam():
    get_config = configs.CORPORA["iemocap"].get_config
    own, fair = get_config("script,model=apcnn"), get_config("model=apcnn,recipe=glam")
    assert own.tfds_splits == ("script",) and fair.tfds_splits == ("impro",)
    assert own.model == fair.model == "apcnn"
    assert (own.features, own.optimizer, own.batch_size) == ("spectrogram", "sgd", 128)
    assert (own.segment, own.hop, own.test_hop) == (32000, 16000, 6399)
    glam = get_config()
    glam.model = "apcnn"
    assert fair == glam


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("impro,model=gram", "no model 'gram'; there are glam, "),
        ("impro,recipe=gram", "no recipe 'gram'; there are glam, "),
        ("impro,modell=glam", "no option 'modell=glam'; there are model=NAME"),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_ones(argument, message):
    with pytest.raises(ValueError, match=message):
        configs.CORPORA["iemocap"].get_config(argument)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "glam_jax.reproduce", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_help_names_every_table():
    text = command("--help").stdout
    for table in reproduce.TABLES:
        assert f"\n  {table} " in text


def test_a_wrong_table_is_refused_with_the_right_ones():
    result = command("mian")
    assert result.returncode == 1
    assert "not mian; there are main, split811, ablation, alpha" in result.stderr


def test_unprepared_data_are_told_at_once_with_all_commands(tmp_path):
    result = command("main", "--corpus=emodb", f"--data_dir={tmp_path}")
    assert result.returncode == 1
    commands = [line for line in result.stderr.splitlines() if "corpus=emodb" in line]
    assert len(commands) == 5  # hops of 3199, and of 1 s and 0.4 s for two kinds
    assert not (ROOT / "reproduced").exists()


@pytest.fixture
def small_table(data_dir, monkeypatch, tmp_path):
    """A table of two quick models on the small demo corpus."""

    def get_config(options=""):
        return shorten(demo_config.get_config(options), data_dir)

    class Small:
        pass

    Small.get_config = staticmethod(get_config)
    monkeypatch.setitem(configs.CORPORA, "demo", Small)
    rows = {name: f"model={name},recipe=glam" for name in ("apcnn", "mhcnn")}
    monkeypatch.setitem(reproduce.TABLES, "fair", reproduce.Table(rows))
    if not reproduce.FLAGS.is_parsed():
        reproduce.FLAGS(["tests"])
    with flagsaver.flagsaver(
        corpus="demo", runs=2, epochs=1, data_dir=str(data_dir), out=str(tmp_path)
    ):
        yield tmp_path


def test_a_second_call_trains_nothing_and_a_deleted_cell_alone(
    small_table, monkeypatch, capsys
):
    trained = []
    train_group = train.train_group

    def train_and_note(program, group, *arguments):
        trained.extend((program.config.model, run.number) for run in group)
        train_group(program, group, *arguments)

    monkeypatch.setattr(train, "train_group", train_and_note)
    reproduce.reproduce("fair")
    assert trained == [(model, run) for model in ("apcnn", "mhcnn") for run in (0, 1)]
    table = (small_table / "fair" / "table.md").read_text()
    assert "mhcnn - apcnn" in table and table in capsys.readouterr().out
    trained.clear()
    reproduce.reproduce("fair")
    assert trained == []
    (cell,) = (small_table / "cells").glob("demo_mhcnn_*")
    shutil.rmtree(cell)
    reproduce.reproduce("fair")
    assert trained == [("mhcnn", 0), ("mhcnn", 1)]
    assert (small_table / "fair" / "table.md").read_text() == table
