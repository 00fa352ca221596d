"""Grids of trainings: their cells, and what a second call does."""

import pathlib
import shutil
import subprocess
import sys

import pytest
from helpers import shorten

from configs import demo as demo_config
from configs import iemocap
from glam_jax import reproduce

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


def test_the_published_recipe_of_a_model_and_that_of_glam():
    get_config = iemocap.get_config
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
        ("impro,model=gram", "no model 'gram'; did you mean glam"),
        ("impro,recipe=gram", "no model 'gram'; did you mean glam"),
        ("impro,modell=glam", "no option 'modell=glam'; there are model=NAME"),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_ones(argument, message):
    with pytest.raises(ValueError, match=message):
        iemocap.get_config(argument)


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
    out = tmp_path / "out"
    result = command("main", "--corpus=emodb", f"--data_dir={tmp_path}", f"--out={out}")
    assert result.returncode == 1
    commands = [line for line in result.stderr.splitlines() if "corpus=emodb" in line]
    assert len(commands) == 5  # hops of 3199, and of 1 s and 0.4 s for two kinds
    assert not out.exists()


@pytest.fixture
def small_grid(data_dir):
    """Two quick models on the small demo corpus, two runs of one epoch each."""
    grid = []
    for model in ("apcnn", "mhcnn"):
        options = f"model={model},recipe=glam"
        config = shorten(demo_config.get_config(options), data_dir)
        config.update(num_runs=2, num_epochs=1)
        grid.append(reproduce.Cell(model, "", config))
    return grid


def trained(out):
    """When each training was written, by model."""
    return {
        folder.name.split("_")[1]: (folder / "metrics.jsonl").stat().st_mtime_ns
        for folder in (out / "cells").iterdir()
    }


def test_a_second_call_trains_nothing_and_a_deleted_cell_alone(
    small_grid, tmp_path, capsys
):
    reproduce.reproduce("fair", small_grid, tmp_path)
    first = trained(tmp_path)
    table = (tmp_path / "fair" / "table.md").read_text()
    assert "mhcnn against apcnn" in table and table in capsys.readouterr().out
    reproduce.reproduce("fair", small_grid, tmp_path)
    assert trained(tmp_path) == first
    shutil.rmtree(small_grid[1].folder(tmp_path))
    reproduce.reproduce("fair", small_grid, tmp_path)
    second = trained(tmp_path)
    assert second["apcnn"] == first["apcnn"] and second["mhcnn"] > first["mhcnn"]
    assert (tmp_path / "fair" / "table.md").read_text() == table


def test_a_training_that_diverges_is_named_and_the_others_go_on(
    small_grid, tmp_path, capsys
):
    small_grid[0].config.learning_rate = 1e30
    with pytest.raises(ValueError, match=r"not in the table:\n.*apcnn.*the loss is"):
        reproduce.reproduce("fair", small_grid, tmp_path)
    assert "| mhcnn " in (tmp_path / "fair" / "table.md").read_text()
