"""Figures of trainings: what their titles say, sizes and fonts for print, refusals."""

import dataclasses

import invented
import numpy as np
import pytest
from PIL import Image

from glam_jax import figures


def training(name, num_runs=2, **changes):
    return invented.training(name, [50.0] * num_runs, **changes)


def texts(figure):
    """All that is written in a figure, and how large."""
    return {
        found.get_text(): found.get_fontsize()
        for found in figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))
        if found.get_text()
    }


def test_every_figure_is_as_wide_as_a_column_with_fonts_of_truetype(tmp_path):
    figures.write(tmp_path, [training("glam")])
    for name in ("confusion", "curves", "embedding", "reliability"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert np.array(image.convert("L")).std() > 10  # not blank
            assert image.width == 3.4 * 300
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf and b"/CIDFontType2" in pdf
        assert b"/Type3" not in pdf
        assert b"/MediaBox [ 0 0 244.8 " in pdf
    assert len(list(tmp_path.iterdir())) == 8


def test_figures_side_by_side_are_as_wide_as_a_page_and_equal_ones_equal(tmp_path):
    figure = figures.confusion([training("glam"), training("mhcnn")])
    assert figure.get_figwidth() == 7
    for name in ("one", "two"):
        figures.save(figure, tmp_path / name)
    for suffix in ("png", "pdf"):
        one, two = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "draw",
    [figures.confusion, figures.curves, figures.embedding, figures.reliability],
    ids=lambda draw: draw.__name__,
)
@pytest.mark.parametrize(
    ("protocol", "words"),
    [("paper", "best epoch on the test fold (optimistic)"), ("speaker", "last epoch")],
)
def test_the_title_says_which_epoch_is_shown_in_eight_points(draw, protocol, words):
    figure = draw([training("glam", protocol=protocol)])
    title = " ".join(figure.get_suptitle().split())
    assert title.startswith(f"iemocap impro, protocol {protocol}; {words}; ")
    assert set(texts(figure).values()) == {8}


def test_a_confusion_matrix_says_how_many_utterances_it_is_of():
    figure = figures.confusion([training("glam")])
    assert [axes.get_title() for axes in figure.axes] == ["glam, n = 14"]
    assert "100.0\n(5)" in texts(figure)


def test_more_than_four_trainings_go_to_several_rows():
    figure = figures.confusion([training(f"model{k}") for k in range(7)])
    titles = [axes.get_title().split(",")[0] for axes in figure.axes]
    assert titles == [f"model{k}" for k in range(7)]
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 4)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["true", *[""] * 3, "true", "", ""]


def test_a_network_without_an_embedding_is_not_in_its_picture(tmp_path):
    without = dataclasses.replace(training("mine"), embedding=np.zeros((0, 0)))
    figure = figures.embedding([without, training("glam")])
    assert [axes.get_title() for axes in figure.axes] == ["glam, n = 4, 3 wrong"]
    figures.write(tmp_path, [without])
    assert not (tmp_path / "embedding.png").exists()


def test_an_embedding_marks_the_errors_and_tells_classes_apart_without_colour():
    figure = figures.embedding([training("mhcnn"), training("glam")])
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [*invented.CLASSES, "taken for another"]
    *classes, wrong = figure.axes[0].collections
    assert len({points.get_paths()[0].vertices.tobytes() for points in classes}) == 4
    # All are taken for sad, so that the rings are around the three others.
    points = np.concatenate([c.get_offsets() for c in classes])
    sad = classes[1].get_offsets()
    ringed = {tuple(point) for point in wrong.get_offsets()}
    assert ringed == {tuple(point) for point in points} - {tuple(sad[0])}


def test_wa_and_ua_share_an_axis_with_chance():
    loss, accuracy = figures.curves([training("glam")]).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    lines = {line.get_label(): line for line in accuracy.lines}
    assert list(lines) == ["WA", "UA", "chance", "largest class (WA)"]
    np.testing.assert_allclose(lines["WA"].get_ydata(), 50.5)
    assert lines["chance"].get_ydata()[0] == 25
    assert lines["largest class (WA)"].get_ydata()[0] == 35.7  # 5 of 14
    assert lines["WA"].get_marker() != lines["UA"].get_marker()
    assert lines["WA"].get_linestyle() != lines["UA"].get_linestyle()


def test_curves_of_several_share_their_axis_and_differ_without_colour():
    figure = figures.curves([training(f"model{k}") for k in range(10)])
    _, wa, ua = figure.axes
    assert wa.get_ylim() == ua.get_ylim()
    assert [axes.get_ylabel() for axes in (wa, ua)] == ["test WA (%)", "test UA (%)"]
    assert len({line.get_marker() for line in wa.lines[:10]}) == 10


def test_reliability_shows_counts_and_empty_bins():
    glam = training("glam")
    perfect = dataclasses.replace(glam, probabilities=np.eye(4)[glam.labels])
    figure = figures.reliability([perfect])
    above, below = figure.axes
    assert above.get_title() == "glam, n = 8, ECE 0.0 %"
    assert [text.get_text() for text in below.texts] == [*["0"] * 9, "8"]
    bars = {bars.get_label(): len(bars) for bars in above.containers}
    assert bars == {"accuracy": 1, "empty bin": 9}


def test_names_stand_in_figures_as_they_are(tmp_path):
    names = ["$x_1$", "a\nb", "100 %"]
    figure = figures.confusion([training(name) for name in names])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["$x_1$, n = 14", "a\\nb, n = 14", "100 %, n = 14"]
    figures.save(figure, tmp_path / "names")  # mathtext would fail on some of them


def test_trainings_of_other_classes_are_refused(tmp_path):
    others = training("glam", classes=["neutral", "happy"])
    with pytest.raises(ValueError, match="different classes"):
        figures.write(tmp_path, [training("glam"), others])
