"""Grids of trainings: their cells, and what a second call does."""

import dataclasses
import functools
import pathlib
import shutil
import types

import invented
import numpy as np
import pytest
from commands import run_afresh, run_command
from flax import linen as nn
from helpers import shorten
from test_claims import held_by_another_process

from configs import base, emodb, iemocap
from configs import demo as demo_config
from glam_jax import (
    comparison,
    ensembles,
    grid,
    ingredients,
    models,
    prepared,
    reproduce,
    values,
)

ROOT = pathlib.Path(__file__).parents[1]


def full(options):
    """The config of configs/iemocap.py:full, as the command makes it."""
    return iemocap.get_config(",".join(filter(None, ["full", options])))


@pytest.mark.parametrize(
    ("table", "on_iemocap", "on_emodb"),
    [
        ("main", 12, 4),
        ("split811", 12, 4),
        ("ablation", 7, 7),
        ("alpha", 7, 7),
        ("honest", 30, 10),
        ("fair", 36, 12),
    ],
)
def test_a_table_has_a_training_for_each_of_its_rows(table, on_iemocap, on_emodb):
    for make_config, count in ((full, on_iemocap), (emodb.get_config, on_emodb)):
        made = grid.cells(grid.TABLES[table], make_config)
        folders = {cell.folder(pathlib.Path()) for cell in made}
        assert len(made) == len(folders) == count


def test_iemocap_is_trained_on_by_each_of_its_parts_and_by_all():
    made = grid.cells(grid.choose_models("main", ["glam"]), full)
    parts = [cell.config.tfds_splits for cell in made]
    assert parts == [("impro",), ("script",), ("impro", "script")]
    assert {cell.config.num_runs for cell in made} == {100}
    (honest, _) = grid.cells(grid.choose_models("honest", ["glam"]), emodb.get_config)
    assert (honest.config.num_runs, honest.config.protocol) == (0, "session")


def test_speakers_are_held_out_where_what_helps_on_others_is_measured(data_dir):
    """The small demo corpus has four speakers, in two sessions."""

    def make_config(options):
        config = shorten(demo_config.get_config(options), data_dir)
        config.num_runs = 0
        return config

    table = dataclasses.replace(grid.TABLES["ingredients"], seeds=2)
    made = {cell.row: cell.config for cell in grid.cells(table, make_config)}
    assert made.keys() == ingredients.INGREDIENTS.keys()
    assert {c.protocol for c in made.values()} == {"speaker"}
    assert {c.num_runs for c in made.values()} == {2 * 4}
    assert made["speed"].augment.speed == 0.1 and made["plain"].augment.speed == 0
    assert (made["speed"].features, made["speed"].frontend) == ("waveform", "mfcc")
    floor = dataclasses.replace(table, rows=(grid.Row("floor", models.FLOOR),))
    (floor,) = grid.cells(floor, make_config)
    assert floor.config.num_runs == 0  # each fold once: a seed changes nothing
    # The network and the recipe of glam_plus are told apart.
    rows = [grid.Row("a", "glam_plus"), grid.Row("b", "glam", "glam_plus")]
    table = grid.Table(tuple(rows), ("",), parts="all")
    network, recipe = (c.config for c in grid.cells(table, make_config))
    assert (network.model, recipe.model) == ("glam_plus", "glam")
    recipe.model = "glam_plus"
    assert network == recipe


def test_a_recipe_is_taken_apart(data_dir):
    """What glam_plus has is taken away, what it lacks is added; all can be trained."""

    def make_config(options):
        config = shorten(demo_config.get_config(options), data_dir)
        config.num_runs = 1
        return config

    table = grid.choose_models("ingredients", ["glam_plus"])
    made = {cell.row: cell.config for cell in grid.cells(table, make_config)}
    assert {"no cosine", "no ema", "mixup", "no pitch", "masks", "log-mel"} <= set(made)
    assert "speaker" not in made  # of sound there is none
    plain = made["plain"]
    assert made["no pitch"].frontend == "mfcc" and plain.frontend == "mfcc_pitch"
    assert made["log-mel"].frontend == "logmel"
    assert {config.features for config in made.values()} == {"waveform"}
    assert made["no cosine"].schedule == "exp" and made["mixup"].mixup_alpha == 0.5
    for config in made.values():
        values.check(config)
        assert config.model == "glam_plus" and (config == plain) == (config is plain)
    with pytest.raises(ValueError, match="of one network: --models=glam_plus"):
        grid.choose_models("ingredients", ["glam", "glam_plus"])


def test_masks_are_taken_away_without_what_they_need():
    config = emodb.get_config()
    config.update(normalise="training")
    config.augment.masks = 1
    assert ingredients.toggle("masks", config) == "no masks"
    assert (config.augment.masks, config.normalise) == (0, "training")


def test_what_varies_sound_is_left_out_of_features_that_no_step_computes():
    config = emodb.get_config("model=apcnn")
    left_out = [n for n in ingredients.INGREDIENTS if not ingredients.fits(n, config)]
    assert left_out == ["silence", "speed", "gain", "noise"]
    config = emodb.get_config()
    config.normalise = (
        "speaker"  # of sound, which they need, no speaker's mean is known
    )
    left_out = [n for n in ingredients.INGREDIENTS if not ingredients.fits(n, config)]
    assert left_out == ["silence", "speed", "gain", "noise"]


def test_speakers_that_nobody_names_cannot_be_held_out(data_dir, monkeypatch):
    config = shorten(demo_config.get_config(), data_dir)
    told = {"without_speaker": 3, "speakers": 4}
    monkeypatch.setattr(prepared, "_provenances", lambda config: [told])
    with pytest.raises(ValueError, match="3 utterances name no speaker"):
        prepared.hold_out_speakers(config)
    told.update(without_speaker=0, speakers=13)
    assert prepared.hold_out_speakers(config) == ("speaker_folds", 5)


def test_corpora_have_their_own_configs(monkeypatch):
    monkeypatch.setattr(
        reproduce, "FLAGS", types.SimpleNamespace(corpora=["emodb", "mine"])
    )
    own, table = reproduce.config_files()
    assert own.endswith("configs/emodb.py") and table.endswith("configs/table.py:mine")


def test_the_configs_own_number_of_runs_counts():
    def make_config(options):
        config = emodb.get_config(options)
        config.num_runs = 3
        return config

    made = grid.cells(grid.TABLES["alpha"], make_config)
    assert {cell.config.num_runs for cell in made} == {3}
    assert [cell.config.mixup_alpha for cell in made] == [0, 0.3, 0.5, 0.8, 1, 2, 3]


def test_tables_share_the_training_of_glam():
    folders = {
        cell.folder(pathlib.Path())
        for table in ("main", "ablation", "alpha", "fair")
        for cell in grid.cells(grid.TABLES[table], emodb.get_config)
        if cell.row in ("glam", "0.5")
    }
    assert len(folders) == 1


def test_where_and_how_a_table_is_trained_does_not_change_its_folders():
    def elsewhere(options):
        config = emodb.get_config(options)
        config.data_dir, config.runs_per_group = "/mnt/data", 2
        return config

    here, there = (
        [cell.folder(pathlib.Path()) for cell in grid.cells(grid.TABLES["main"], make)]
        for make in (emodb.get_config, elsewhere)
    )
    assert here == there


def test_models_of_ones_own_take_the_rows():
    table = grid.choose_models("fair", ["glam", "my_module:MyNet"])
    made = grid.cells(table, emodb.get_config)
    assert [cell.row for cell in made] == ["glam", "my_module:MyNet"]
    assert made[1].config.model == "my_module:MyNet"
    folder = made[1].folder(pathlib.Path()).name
    assert folder.startswith("emodb_train_my_module.MyNet_paper_")


@pytest.mark.parametrize("count", [1, 3, 12, 20])
def test_the_shards_of_a_table_are_the_table(count):
    made = grid.cells(grid.TABLES["main"], full)
    shards = [grid.shard(made, f"{k}/{count}") for k in range(count)]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    together = [cell.folder(pathlib.Path()) for shard in shards for cell in shard]
    assert sorted(together) == sorted(cell.folder(pathlib.Path()) for cell in made)


@pytest.mark.parametrize("text", ["3/3", "0/0", "-1/3", "1", "a/b", "1/3/5", "/"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(
        ValueError, match=f"i from 0 to n - 1, such as 0/4, not '{text}"
    ):
        grid.shard([], text)


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


def test_a_recipe_with_epochs_of_its_own_has_them_on_every_corpus():
    own = base.get_config("model=glam_plus").num_epochs
    assert own != base.get_config().num_epochs
    assert emodb.get_config("model=glam,recipe=glam_plus").num_epochs == own
    others = {
        emodb.get_config(o).num_epochs for o in ("", "model=glam_plus,recipe=glam")
    }
    assert others == {30}


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


command = functools.partial(run_command, "glam_jax.reproduce")


def test_help_names_every_table():
    text = run_afresh("glam_jax.reproduce", "--help").stdout
    for table in grid.TABLES:
        assert f"\n  {table} " in text


OWN_CONFIG = """
from configs import base

def get_config(options=""):
    config = base.get_config(options)
    config.corpus, config.classes, config.num_epochs = "demo", "a=a b=b", 7
    return config
"""


def test_a_list_needs_no_data_and_takes_a_config_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN_CONFIG)
    arguments = ["--config=mine.py", "--config.num_runs=5", "--list", "--shard=1/2"]
    models = "--models=mhcnn,glam,my_module:MyNet,apcnn"
    result = command("main", models, *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    _, _, *lines, summary = result.stdout.splitlines()
    assert [line.split()[:6] for line in lines] == [
        [model, "demo", "train", "paper", "5", "7"] for model in ("glam", "apcnn")
    ]
    assert all("not begun" in line for line in lines)
    assert summary == "2 trainings, 0 of them finished"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "not nothing; there are main"),
        (["mian"], "not mian; there are main, split811, ablation, alpha"),
        (["fair", "--models=glam,gram"], "no model 'gram'; did you mean glam?"),
        (["alpha", "--models=glam"], "the rows of table alpha are no models"),
        (["main", "--shard=4/4"], "i from 0 to n - 1"),
        (["main", "--config.protocol=text"], "the table sets config.protocol itself"),
        (["alpha", "--config.mixup_alpha=1"], "the table sets config.mixup_alpha"),
        (["main", "--config=fixed.py"], "get_config must hand its argument on"),
        (["main", "--config.num_run=1"], 'did you mean "num_runs"'),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(arguments, message, tmp_path):
    (tmp_path / "fixed.py").write_text(
        OWN_CONFIG.replace('options=""', "").replace("(options)", "()")
    )
    result = command(*arguments, folder=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_unprepared_data_are_told_at_once_with_all_commands(tmp_path):
    out = tmp_path / "out"
    data = f"--config.data_dir={tmp_path}"
    result = command("main", "--config=configs/emodb.py", data, f"--out={out}")
    assert result.returncode == 1
    commands = [line for line in result.stderr.splitlines() if "corpus=emodb" in line]
    assert len(commands) == 5  # hops of 3199, and of 1 s and 0.4 s for two kinds
    assert not out.exists()


class Small(nn.Module):
    """A network of one's own that compiles fast."""

    num_classes: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes, self.use_bias)(x.mean(axis=2))


class Smaller(Small):
    use_bias: bool = False


SMALL, SMALLER = "test_reproduce:Small", "test_reproduce:Smaller"


@pytest.fixture
def small_grid(data_dir):
    """Two networks on the small demo corpus, two runs of one epoch each."""
    cells = []
    for model in (SMALL, SMALLER):
        config = shorten(demo_config.get_config(f"model={model}"), data_dir)
        config.update(num_runs=2, num_epochs=1)
        cells.append(grid.Cell(model, config))
    return cells


def trained(grid, out):
    """When the training of each cell was written."""
    files = [cell.folder(out) / "metrics.jsonl" for cell in grid]
    return [file.stat().st_mtime_ns for file in files]


def test_a_second_call_trains_only_what_was_deleted(
    small_grid, tmp_path, without_figures, capsys
):
    grid.reproduce("fair", small_grid, small_grid, tmp_path)
    first = trained(small_grid, tmp_path)
    table = (tmp_path / "fair" / "table.md").read_text()
    assert f"{SMALLER} against {SMALL} " in table and table in capsys.readouterr().out
    shutil.rmtree(small_grid[1].folder(tmp_path))
    grid.reproduce("fair", small_grid, small_grid, tmp_path)
    second = trained(small_grid, tmp_path)
    assert second[0] == first[0] and second[1] > first[1]
    assert (tmp_path / "fair" / "table.md").read_text() == table
    (small_grid[0].folder(tmp_path) / "report.md").unlink()
    grid.reproduce("fair", small_grid, small_grid, tmp_path)
    assert "report.md is not what was written; it is made again" in (
        capsys.readouterr().out
    )
    assert (small_grid[0].folder(tmp_path) / "report.md").exists()


def test_a_training_that_diverges_is_named_and_the_others_go_on(
    small_grid, tmp_path, capsys
):
    small_grid[0].config.learning_rate = 1e38
    with pytest.raises(ValueError, match=r"not in the table:\n.*Small_.*the loss is"):
        grid.reproduce("fair", small_grid, small_grid, tmp_path)
    assert f"| {SMALLER} " in (tmp_path / "fair" / "table.md").read_text()


def test_a_model_that_cannot_be_made_is_named_before_any_training(small_grid, tmp_path):
    small_grid[1].config.model = "no_such_module:MyNet"
    with pytest.raises(ValueError, match="there is no module 'no_such_module'"):
        grid.reproduce("fair", small_grid, small_grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_write_one_table_when_they_are_done(small_grid, tmp_path, capsys):
    """The second training is another process's, and is not of this data's protocols."""
    first, second = small_grid
    second.config.protocol = "text"
    with held_by_another_process(first.folder(tmp_path)):
        grid.reproduce("fair", small_grid, small_grid, tmp_path)
        assert "in training by process" in grid.listing([first], tmp_path)
    printed = capsys.readouterr().out
    assert f"passed over: {first.folder(tmp_path)} is in use by process" in printed
    assert not second.folder(tmp_path).exists()
    assert "passed over: protocol 'text' needs 2 texts, but the data have 0" in printed
    assert "2 of 2 trainings are not in the table" in printed
    assert not (tmp_path / "fair" / "table.md").exists()
    grid.reproduce("fair", small_grid, grid.shard(small_grid, "0/2"), tmp_path)
    assert "1 of 2 trainings are not in the table" in capsys.readouterr().out
    assert f"| {SMALL} " in (tmp_path / "fair" / "table.md").read_text()
    assert grid.state(first.folder(tmp_path)) == "finished"


def test_the_seeds_of_a_fold_are_averaged_in_a_row_of_their_own():
    """Two folds of two seeds: the surer of two answers wins."""
    tested, sure, unsure = ("a", "b", "c", "d"), [0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0]
    training = invented.training("glam", [1, 2, 3, 4], tested, protocol="speaker")
    for run, fold in zip(training.report["runs"], "xyxy", strict=True):
        run["fold"] = fold
    training.probabilities[:] = np.repeat([sure, sure, unsure, sure], 4, axis=0)
    assert ensembles.seeds(training) == 2
    averaged = ensembles.of_folds(training)
    assert averaged.utterances.tolist() == [*tested] * 2
    of_x = averaged.probabilities[averaged.runs == 0]
    np.testing.assert_allclose(of_x, [[0.55, 0.45, 0, 0]] * 4)
    assert averaged.name == "glam, 2 averaged"
    assert [run["last"]["wa"] for run in averaged.report["runs"]] == [25] * 2
    assert averaged.report["summary"]["last"]["ua"]["n"] == 2
    assert averaged.report["pooled"]["ua"] == 25
    sureness = averaged.report["calibration_error"]
    assert sureness == pytest.approx((55 + 90) / 2 - 25)
    assert comparison.what_differs(training, averaged) == ""
    lines = comparison.over_runs(training, averaged)
    assert {line["n"] for line in lines} == {2}  # folds
    np.testing.assert_allclose(lines[0]["mean"], 25 - (1 + 2 + 3 + 4) / 4 + 5)
    for run in training.report["runs"]:
        run["fold"] = ""
    assert ensembles.seeds(training) == 1
