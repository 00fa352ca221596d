"""Tables of several trainings: numbers by hand, the paper's beside them, formats."""

import invented
import pytest

from data_prep import text
from glam_jax import comparison, tables

GLAM, MHCNN = (
    invented.training("glam", [80.0, 82.0, 84.0]),
    invented.training("mhcnn", [79.0, 80.0, 81.0]),
)
EMODB = {"corpus": "emodb", "tfds_splits": ["train"]}


def test_a_line_has_our_figures_and_the_papers():
    line = tables.result_line("main", GLAM)
    assert line["n"] == "3"
    assert line["WA"] == "82.00 ± 2.00"
    assert line["WA, last epoch"] == "77.00 ± 2.00"
    assert line["paper: WA"] == "81.18 ± 1.47"
    assert line["paper: weighted F1"] == "80.99 ± 1.50"


def test_a_protocol_of_the_last_epoch_shows_it_once():
    line = tables.result_line(
        "honest", invented.training("glam", [60.0], protocol="session")
    )
    assert line["WA"] == "60.00"
    assert "WA, last epoch" not in line
    assert line["paper (protocol paper): WA"] == "81.18 ± 1.47"


def test_figures_of_iemocap_beside_another_corpus_are_named():
    line = tables.result_line("main", invented.training("glam", [60.0], **EMODB))
    assert line["paper (IEMOCAP impro): WA"] == "81.18 ± 1.47"


def test_figures_of_four_classes_do_not_stand_beside_others():
    other = invented.training("glam", [60.0], classes=["sad", "angry", "neutral"])
    assert tables.result_line("main", other)["paper: WA"] == ""


def test_figures_of_iemocap_do_not_stand_beside_trainings_of_ones_own():
    line = tables.result_line("", invented.training("glam", [60.0], **EMODB))
    assert not any(cell for column, cell in line.items() if "paper" in column)
    assert tables.result_line("", GLAM)["paper: WA"] == "81.18 ± 1.47"


def test_a_row_that_nobody_published_stays_empty():
    assert (
        tables.result_line("fair", invented.training("glam5", [60.0]))["paper: WA"]
        == ""
    )


def test_pairs_on_the_same_utterances_are_compared():
    """GLAM - MHCNN in WA: 1, 2, 3 (see test_metrics)."""
    (line,) = tables.pair_lines(comparison.pairs([MHCNN, GLAM]), "runs")
    assert line["pair"] == "glam against mhcnn"
    assert line["WA"] == "+2.00 ± 3.29"
    assert line["p (WA)"] == "0.12"
    assert line["WA, last epoch"] == "+2.00 ± 3.29"
    assert tables.pair_lines(comparison.pairs([MHCNN, GLAM]), "speakers") == []


def test_pairs_of_held_out_speakers_have_an_interval_of_two_bounds():
    part = [invented.training(name, [60.0], protocol="speaker") for name in ("a", "b")]
    (line,) = tables.pair_lines(comparison.pairs(part), "speakers")
    assert line["n"] == "4"
    assert (line["UA"], line["p (UA)"]) == ("+0.00 [+0.00, +0.00]", "")
    written = tables.as_text("", [part], "github")
    assert "Differences over n speakers" in written
    assert "There are 2 of them: Bonferroni asks for p < 0.025." in written


def test_pairs_on_other_utterances_are_named_instead():
    part = [invented.training("mhcnn", [79.0, 80.0, 81.0], tested=("a", "e")), GLAM]
    written = tables.as_text("main", [part], "github")
    assert "Differences" not in written
    assert "Not compared: glam and mhcnn (run 0 is tested on 2 and 4 utt" in written


def test_trainings_of_one_subject_are_a_part():
    script = invented.training("glam", [70.0], tfds_splits=["script"])
    assert tables.in_parts([MHCNN, GLAM, script]) == [[MHCNN, GLAM], [script]]


def test_all_files_are_written(tmp_path):
    script = invented.training("glam", [70.0, 71.0, 72.0], tfds_splits=["script"])
    written = tables.write(tmp_path, "main", [[MHCNN, GLAM], [script]])
    assert written == (tmp_path / "table.md").read_text()
    assert "## main: iemocap impro, protocol paper, 50 epochs" in written
    assert "## main: iemocap script" in written
    assert "71.44 ± 2.05" in written  # the paper's for the scripted part
    latex = (tmp_path / "table.tex").read_text()
    for what in ("table", "tabular"):
        assert latex.count(rf"\begin{{{what}}}") == 3
        assert latex.count(rf"\end{{{what}}}") == 3
    assert r"\caption{main: iemocap impro, protocol paper, 50 epochs. In" in latex
    assert r"95 \% interval" in latex
    header, cells = text.read_csv(tmp_path / "table.csv")
    rows = [dict(zip(header, row, strict=True)) for row in cells]
    assert len(rows) == 3 * 2 * 4
    first = rows[0]
    assert (first["row"], first["epoch"], first["measure"]) == (
        "mhcnn",
        "selected",
        "wa",
    )
    assert float(first["mean"]) == 80 and float(first["paper_mean"]) == 76.09
    assert {r["paper_mean"] for r in rows if r["epoch"] == "last"} == {""}
    header, cells = text.read_csv(tmp_path / "pairs.csv")
    assert len(cells) == 4  # two epochs, two measures
    assert float(cells[0][header.index("p")]) == pytest.approx(0.12, abs=0.001)
    for part in ("iemocap_impro_paper", "iemocap_script_paper"):
        assert (tmp_path / part / "confusion.png").is_file()
