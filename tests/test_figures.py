"""Figures of several trainings: files, one legend, refusals."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from glam_jax import figures

ROOT = pathlib.Path(__file__).parents[1]
CLASSES = ["neutral", "sad", "angry", "excited"]


def training(name, num_runs=2, classes=CLASSES):
    random = np.random.default_rng(0)
    labels = np.arange(40) % len(classes)
    probabilities = random.dirichlet(np.ones(len(classes)), size=40)
    report = {
        "corpus": "emodb",
        "tfds_splits": ["train"],
        "protocol": "paper",
        "classes": classes,
        "confusion_matrix": random.integers(9, size=(len(classes),) * 2).tolist(),
        "runs": [{"run": run} for run in range(num_runs)],
    }
    rows = [
        {"run": run, "loss": 1 / epoch, "wa": 50.0 + run, "ua": 40.0 + epoch}
        for run in range(num_runs)
        for epoch in (1, 2, 3)
    ]
    embedding = random.normal(size=(40, 8))
    return figures.Training(
        name, report, rows, labels, probabilities, embedding, labels
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_figure_is_written_as_png_and_pdf(tmp_path, count):
    figures.write(tmp_path, [training(f"model{k}") for k in range(count)])
    for name in ("confusion", "curves", "embedding", "reliability"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_several_embeddings_have_one_legend_with_the_true_names():
    figure = figures.embedding([training("mhcnn"), training("glam")])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == CLASSES
    assert not any(axes.get_legend() for axes in figure.axes)
    assert [axes.get_title() for axes in figure.axes] == ["mhcnn", "glam"]


def test_curves_show_the_mean_over_runs():
    loss, wa, _ = figures.curves([training("glam")]).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(wa.lines[0].get_ydata(), 50.5)


def test_reliability_names_the_calibration_error():
    sure = np.eye(4)[np.arange(40) % 4]
    perfect = dataclasses.replace(training("glam"), probabilities=sure)
    (axes,) = figures.reliability([perfect]).axes
    assert axes.get_title() == "glam, calibration error 0.0 %"


def test_trainings_of_other_classes_are_refused(tmp_path):
    others = training("glam", classes=["neutral", "happy"])
    with pytest.raises(ValueError, match="different classes"):
        figures.write(tmp_path, [training("glam"), others])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "name the folders"), (["nowhere"], "nowhere holds no finished training")],
)
def test_the_command_says_what_it_needs(arguments, message):
    result = subprocess.run(
        [sys.executable, "-m", "glam_jax.figures", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 1
    assert message in result.stderr
