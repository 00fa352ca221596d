"""Tables of several trainings: numbers by hand, the paper's beside them, formats."""

import dataclasses
import shutil
import subprocess

import invented
import pytest

from data_prep import text
from glam_jax import comparison, markup, tables

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
    assert line["p (WA)"] == "0.48"  # 0.12, and four equal tests
    assert line["WA, last epoch"] == "+2.00 ± 3.29"
    assert tables.pair_lines(comparison.pairs([MHCNN, GLAM]), "speakers") == []


def test_pairs_of_held_out_speakers_have_an_interval_of_two_bounds():
    part = [invented.training(name, [60.0], protocol="speaker") for name in ("a", "b")]
    (line,) = tables.pair_lines(comparison.pairs(part), "speakers")
    assert line["n"] == "4"
    assert (line["UA"], line["p (UA)"]) == ("+0.00 [+0.00, +0.00]", "")
    written = tables.as_markdown("", [part])
    assert "Differences over n speakers" in written
    assert "Holm's correction of p allows for all 0 tests." in written


def test_an_ingredient_is_compared_with_its_recipe_alone():
    """Other tests would cost it significance."""
    names = ("plain", "no ema", "no speed")
    part = [invented.training(name, [60, 61, 62], protocol="speaker") for name in names]
    written = tables.as_markdown("ingredients", [part])
    assert "no ema against plain" in written and "no speed against plain" in written
    assert "no speed against no ema" not in written
    assert " against " not in tables.as_markdown("ingredients", [part[1:]])
    assert "no speed against no ema" in tables.as_markdown("plus", [part])


def test_ingredients_are_told_with_how_they_end_and_what_they_cost():
    """Two runs side by side, 40 segments a second in all, then one alone."""
    training = invented.training("ema", [60, 61], protocol="speaker")
    rows = [(0, 1, 70.0, 20.0), (1, 1, 50.0, 20.0), (0, 2, 74.0, 10.0)]
    names = ("run", "epoch", "ua", "segments_per_second")
    epochs = [dict(zip(names, row, strict=True)) | {"segments": 80} for row in rows]
    line = tables.result_line("plus", dataclasses.replace(training, epochs=epochs))
    assert line["spread"] == "2.8"  # sqrt(8)
    assert line["seconds"] == "12"  # 160 / 40 + 80 / 10
    assert "calibration error" in line
    assert "seconds" not in tables.result_line("fair", training)


def test_what_was_tested_on_other_speakers_has_the_ua_of_all_of_them():
    honest = invented.training("a", [60.0], protocol="speaker")
    assert tables.result_line("", honest)["pooled UA"] == "100.00"
    assert "pooled UA" not in tables.result_line("", GLAM)


def test_pairs_on_other_utterances_are_named_instead():
    part = [invented.training("mhcnn", [79.0, 80.0, 81.0], tested=("a", "e")), GLAM]
    written = tables.as_markdown("main", [part])
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
    for what in ("table*", "tabular"):
        assert latex.count(rf"\begin{{{what}}}") == 3
        assert latex.count(rf"\end{{{what}}}") == 3
    assert r"\caption{main: iemocap impro, protocol paper, 50 epochs. In" in latex
    assert r"95 \% interval" in latex
    assert r"\label{tab:main-iemocap-impro-paper-results}" in latex
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


def test_numbers_of_latex_are_split_at_their_points():
    latex = tables.as_latex("main", [[MHCNN, GLAM]])
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert (
        r"glam & 3 & 82 & .00~$\pm$~ & 2 & .00 & 72 & .00~$\pm$~ & 2 & .00"
        in rows[rows.index(next(row for row in rows if row.startswith("glam & 3")))]
    )
    assert any(row.startswith(r"paper &  & 81 & .18~$\pm$~ & 1 & .47") for row in rows)
    assert any(row.startswith(r"glam against mhcnn & 3 & $+$2 & .00~") for row in rows)
    assert r"\cmidrule" in latex and "last epoch" in latex
    assert "siunitx" not in latex


def test_a_column_without_a_cell_is_left_out_of_latex():
    """One run has no sd and no p, and nobody published EmoDB's figures."""
    part = [invented.training(name, [60.0], **EMODB) for name in ("a", "b")]
    latex = tables.as_latex("", [part])
    assert r"$\pm$" not in latex.split(r"\toprule", 1)[1].split(r"\bottomrule")[0]
    assert "p (" not in latex and "paper &" not in latex


def test_the_best_is_bold_only_where_it_is_significantly_better():
    better = invented.training("better", [90.0, 92.1, 94.0])
    part = [MHCNN, better]  # 11, 12.1 and 13 points
    (_, caption, lines), *_ = tables.captioned_lines("main", part)
    assert "Bold: the best WA or UA, where it differs" in caption
    bold = [key for line in lines for key in line if isinstance(line[key], markup.Bold)]
    assert bold == ["WA", "UA", "WA, last epoch", "UA, last epoch"]
    assert "**92.03 ± 2.00**" in tables.as_markdown("main", [part])
    assert r"\textbf{92} & \textbf{.03}~$\pm$~ & 2 & .00" in tables.as_latex(
        "main", [part]
    )
    for others in ([MHCNN, GLAM], [better], [MHCNN, better, other_utterances()]):
        (_, caption, lines), *_ = tables.captioned_lines("main", others)
        assert "Bold" not in caption
        assert not any(
            isinstance(c, markup.Bold) for line in lines for c in line.values()
        )


def other_utterances():
    return invented.training("other", [10.0, 10.1, 10.3], tested=("a", "e"))


EVIL = ["a_b & $x$ 100 %", r"\evil{} #1 ~^|<>", "größe é 中 \x1b[1m\nnew", "=1+1"]


def test_any_name_stands_in_markdown_and_latex_as_it_is():
    part = [invented.training(name, [60.0]) for name in EVIL]
    latex, markdown = tables.as_latex("", [part]), tables.as_markdown("", [part])
    for written in (
        r"a\_b \& \$x\$ 100 \%",
        r"\textbackslash{}evil\{\} \#1",
        "größe é",
    ):
        assert written in latex
    assert r"\ifdefined\Umathcode 中\else U+4E2D\fi" in latex
    for written in ("a_b & $x$ 100 %", r"\\evil{} #1 ~^\|\<>", r"中 \\x1b[1m\\nnew"):
        assert written in markdown
    assert "\x1b" not in latex + markdown
    widths = {line.replace(r"\|", "").count("|") for line in markdown.splitlines()}
    assert widths == {0, 9, 7}  # no table, results, differences


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_the_table_compiles_with_booktabs_alone(tmp_path):
    part = [invented.training(name, [60.0, 61.0]) for name in (*EVIL, "glam")]
    (tmp_path / "table.tex").write_text(tables.as_latex("main", [part]))
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        r"\input{table}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
