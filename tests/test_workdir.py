"""Files of a training: claimed by one config, safe to stop at any time."""

import json

import numpy as np
import pytest

from configs import iemocap
from glam_jax import report, workdir


def test_another_config_is_refused_with_the_difference(tmp_path):
    config = iemocap.get_config()
    workdir.claim(tmp_path, config)
    (tmp_path / "checkpoints").mkdir()  # training began
    (tmp_path / "model.json").write_text("{}")
    workdir.claim(tmp_path, config)  # the same may go on
    config.learning_rate = 0.01
    with pytest.raises(ValueError, match=r"learning_rate: 0\.001 there, 0\.01 here"):
        workdir.claim(tmp_path, config)


def test_a_config_of_an_earlier_version_has_the_defaults_of_later_fields(tmp_path):
    config = iemocap.get_config()
    workdir.claim(tmp_path, config)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    del written["ema"], written["augment"]["noise"]
    path.write_text(json.dumps(written))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.json").write_text("{}")
    workdir.claim(tmp_path, config)  # it may go on
    read = workdir.read_config(tmp_path)
    assert read == json.loads(config.to_json_best_effort())
    assert report.recipe(read) == report.recipe(config)


def test_a_training_of_an_earlier_version_is_refused(tmp_path):
    """It has checkpoints, and nothing that says what is in them."""
    workdir.claim(tmp_path, iemocap.get_config())
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"earlier version .* another --workdir"):
        workdir.claim(tmp_path, iemocap.get_config())


def test_a_config_can_change_before_anything_was_trained(tmp_path):
    config = iemocap.get_config()
    workdir.claim(tmp_path, config)
    config.model = "another"
    workdir.claim(tmp_path, config)
    assert "another" in (tmp_path / "config.json").read_text()


def test_rows_are_read_back_without_a_line_cut_short(tmp_path):
    metrics = workdir.Metrics(tmp_path)
    rows = [
        {"run": run, "epoch": epoch, "wa": 1 / 3} for run in (0, 1) for epoch in (1, 2)
    ]
    for row in rows:
        metrics.add(row)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"run": 1, "epo')
    metrics = workdir.Metrics(tmp_path)
    assert metrics.rows == rows
    metrics.forget_after(run=1, epoch=1)
    assert metrics.rows == workdir.Metrics(tmp_path).rows == rows[:3]


def test_predictions_are_read_back_exactly(tmp_path):
    names = ("neutral", "sad")
    probabilities = np.random.default_rng(0).random((3, 2)).astype(np.float32)
    predictions = workdir.Predictions(tmp_path, names)
    predictions.add(1, np.array(["a", "b", "c"]), np.array([0, 1, 1]), probabilities)
    predictions.add(0, np.array(["d"]), np.array([0]), probabilities[:1])
    predictions = workdir.Predictions(tmp_path, names)
    assert predictions.runs() == [0, 1]
    labels, read = predictions.of_run(1)
    np.testing.assert_array_equal(labels, [0, 1, 1])
    np.testing.assert_array_equal(read, probabilities)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "report.md"
    workdir.write_atomically(path, "first")
    with path.open() as before:
        workdir.write_atomically(path, "second")
        assert before.read() == "first"
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
