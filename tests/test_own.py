"""A network and features of one's own, from a folder outside the package."""

import sys

import jax
import numpy as np
import pytest
from helpers import assert_trees_close, last_params, numbers, shorten, write_own

import glam_jax
from configs import demo as demo_config
from data_prep import preparation, records
from glam_jax import train

FEATURES, MODEL = "of_my_own:band_energies", "of_my_own:Recurrent"


@pytest.fixture(scope="module")
def own_folder(data_dir, tmp_path_factory):
    """A folder with a module, to work in, and a data set of its features."""
    folder = tmp_path_factory.mktemp("own")
    write_own(folder / "of_my_own.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data_set = records.DataSet("demo", FEATURES, segment=8000, hop=8000)
        preparation.prepare(data_set, data_dir / "demo_corpus", folder / "data")
    return folder


@pytest.fixture
def config(own_folder, monkeypatch):
    monkeypatch.chdir(own_folder)
    config = shorten(demo_config.get_config(), own_folder / "data")
    config.update(features=FEATURES, model=MODEL)
    return config


def test_both_are_trained_reported_and_loaded(config, own_folder, tmp_path):
    report = train.train_and_evaluate(config, str(tmp_path))
    assert report["model"] == MODEL
    assert not (tmp_path / "embedding.png").exists()  # it sows none
    model = glam_jax.load(tmp_path)
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    assert model.probabilities(wave).sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="of_my_own:Recurrent names no embedding"):
        model.embed(wave)


@pytest.mark.usefixtures("without_figures")
def test_two_of_its_runs_in_a_group_equal_one_alone(config, tmp_path):
    """A network without `batch_axis` is never split over devices silently."""
    config.update(num_runs=2, parallel="runs")
    together = train.train_and_evaluate(config, str(tmp_path / "two"))
    config.num_runs = 1
    alone = train.train_and_evaluate(config, str(tmp_path / "one"))
    assert together["runs"][0]["last"] == alone["runs"][0]["last"]
    ours, theirs = (last_params(tmp_path / name, 0) for name in ("two", "one"))
    assert_trees_close(ours, theirs, 1e-4)


@pytest.mark.usefixtures("without_figures")
def test_flaxs_batch_norm_is_not_split_over_devices(config, tmp_path):
    config.update(model="of_my_own:Normalised", parallel="data")
    with pytest.raises(ValueError, match=r"cannot be split over devices"):
        train.train_and_evaluate(config, str(tmp_path))
    config.parallel = "auto"  # one device trains it, and gives what one device gives
    four = train.train_and_evaluate(config, str(tmp_path / "four"))
    assert jax.local_device_count() == 4
    config.parallel = "runs"
    one = train.train_and_evaluate(config, str(tmp_path / "one"))
    assert numbers(four)["summary"] == numbers(one)["summary"]


def test_what_a_network_lacks_is_said_before_training(config, tmp_path):
    config.model = "of_my_own:Headless"
    with pytest.raises(ValueError, match=r"shape \(2, 7\) .* instead of \(2, 4\)"):
        train.train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_features_that_were_edited_are_not_taken_for_those_of_the_data(
    config, own_folder, tmp_path
):
    """Neither by a training, nor by the model of an earlier one."""
    train.train_and_evaluate(config, str(tmp_path / "run"))
    module = sys.modules["of_my_own"]
    before = module.band_energies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "band_energies", lambda wave: before(wave) - 1)
        with pytest.raises(ValueError, match="gives other features now than when"):
            train.train_and_evaluate(config, str(tmp_path / "again"))
        with pytest.raises(ValueError, match="gives other features now than when"):
            glam_jax.load(tmp_path / "run")
        patch.setattr(module, "band_energies", lambda wave: before(wave) + 1e-6)
        glam_jax.load(tmp_path / "run")  # rounding is another on another machine


@pytest.mark.usefixtures("without_figures")
def test_a_network_that_was_edited_does_not_go_on_in_a_table_of_another(
    config, own_folder, tmp_path
):
    train.train_and_evaluate(config, str(tmp_path))
    (tmp_path / "report.json").unlink()
    path = own_folder / "of_my_own.py"
    before = path.read_text()
    path.write_text(before + "# another\n")
    with pytest.raises(ValueError, match="begun with another file of the network"):
        train.train_and_evaluate(config, str(tmp_path))
    path.write_text(before)
    train.train_and_evaluate(config, str(tmp_path))
