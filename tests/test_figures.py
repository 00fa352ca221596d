"""Figures of several trainings: files, panels, one legend, refusals."""

import dataclasses

import invented
import numpy as np
import pytest
from matplotlib import image

from glam_jax import figures


def training(name, num_runs=2, **changes):
    return invented.training(name, [50.0] * num_runs, **changes)


@pytest.mark.parametrize("count", [1, 5])
def test_every_figure_is_written_as_png_and_pdf(tmp_path, count):
    figures.write(tmp_path, [training(f"model{k}") for k in range(count)])
    for name in ("confusion", "curves", "embedding", "reliability"):
        assert image.imread(tmp_path / f"{name}.png").std() > 0.05  # not blank
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 8


def test_a_network_without_an_embedding_is_not_in_its_picture(tmp_path):
    without = dataclasses.replace(training("mine"), embedding=np.zeros((0, 0)))
    figure = figures.embedding([without, training("glam")])
    assert [axes.get_title() for axes in figure.axes] == ["glam"]
    figures.write(tmp_path, [without])
    assert not (tmp_path / "embedding.png").exists()


def test_more_than_four_trainings_go_to_several_rows():
    figure = figures.confusion([training(f"model{k}") for k in range(6)])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"model{k}" for k in range(6)]
    grid = panels[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 4)
    assert [axes.get_ylabel() for axes in panels] == ["true", *[""] * 3, "true", ""]


def test_several_embeddings_have_one_legend_with_the_true_names():
    figure = figures.embedding([training("mhcnn"), training("glam")])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*invented.CLASSES]
    assert not any(axes.get_legend() for axes in figure.axes)
    assert [axes.get_title() for axes in figure.axes] == ["mhcnn", "glam"]


def test_curves_show_the_mean_over_runs():
    loss, wa, _ = figures.curves([training("glam")]).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(wa.lines[0].get_ydata(), 50.5)


def test_reliability_names_the_calibration_error():
    glam = training("glam")
    perfect = dataclasses.replace(glam, probabilities=np.eye(4)[glam.labels])
    (axes,) = figures.reliability([perfect]).axes
    assert axes.get_title() == "glam, calibration error 0.0 %"


def test_trainings_of_other_classes_are_refused(tmp_path):
    others = training("glam", classes=["neutral", "happy"])
    with pytest.raises(ValueError, match="different classes"):
        figures.write(tmp_path, [training("glam"), others])
