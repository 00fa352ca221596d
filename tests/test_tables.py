"""Tables of several trainings: numbers by hand, the paper's beside them, formats."""

import csv
import pathlib

import pytest

from glam_jax import metrics, tables


def row(name, wa, sha256="same", protocol="paper", subset="impro", num_classes=4):
    """A finished training with these WA of its runs; UA is ten lower."""
    runs = [
        {
            "train_utterances": 80,
            "test_utterances": 20,
            "selected": {"wa": value, "ua": value - 10},
            "last": {"wa": value - 5, "ua": value - 15},
        }
        for value in wa
    ]
    summary = {
        epoch: {
            measure: metrics.summarise(
                [run[epoch]["ua" if measure == "ua" else "wa"] for run in runs], 0.25
            )
            for measure in metrics.NAMES
        }
        for epoch in ("selected", "last")
    }
    report = {
        "corpus": "iemocap" if subset else "emodb",
        "model": name,
        "protocol": protocol,
        "selection": "test" if protocol == "paper" else "last",
        "num_epochs": 50,
        "classes": ["neutral", "sad", "angry", "excited"][:num_classes],
        "splits": {"sha256": sha256},
        "summary": summary | {"best_on_test": summary["selected"]},
        "runs": runs,
    }
    return tables.Row(name, subset, pathlib.Path(f"cells/{name}"), report)


GLAM, MHCNN = row("glam", [80.0, 82.0, 84.0]), row("mhcnn", [79.0, 80.0, 81.0])


def test_a_line_has_our_figures_and_the_papers():
    line = tables.result_line("main", GLAM)
    assert line["n"] == "3"
    assert line["WA"] == "82.00 ± 2.00"
    assert line["WA, last epoch"] == "77.00 ± 2.00"
    assert line["paper: WA"] == "81.18 ± 1.47"
    assert line["paper: weighted F1"] == "80.99 ± 1.50"


def test_a_protocol_of_the_last_epoch_shows_it_once():
    line = tables.result_line("honest", row("glam", [60.0], protocol="session"))
    assert line["WA"] == "60.00"
    assert "WA, last epoch" not in line
    assert line["paper (protocol paper): WA"] == "81.18 ± 1.47"


def test_figures_of_iemocap_beside_another_corpus_are_named():
    line = tables.result_line("main", row("glam", [60.0], subset=""))
    assert line["paper (IEMOCAP impro): WA"] == "81.18 ± 1.47"


def test_figures_of_four_classes_do_not_stand_beside_others():
    line = tables.result_line("main", row("glam", [60.0], subset="", num_classes=3))
    assert line["paper: WA"] == ""


def test_a_row_that_nobody_published_stays_empty():
    assert tables.result_line("fair", row("glam5", [60.0]))["paper: WA"] == ""


def test_pairs_on_the_same_splits_are_compared():
    """GLAM - MHCNN in WA: 1, 2, 3 (see test_metrics)."""
    (line,) = tables.pair_lines([MHCNN, GLAM])
    assert line["pair"] == "glam against mhcnn"
    assert line["WA"] == "+2.00 ± 3.29"
    assert line["p (WA)"] == "0.12"
    assert line["WA, last epoch"] == "+2.00 ± 3.29"


def test_pairs_on_other_splits_are_named_instead():
    part = [row("mhcnn", [79.0, 80.0, 81.0], sha256="other"), GLAM]
    assert tables.pair_lines(part) == []
    assert "glam and mhcnn" in tables.as_text("main", part, "github")


def test_all_files_are_written(tmp_path):
    script = row("glam", [70.0, 71.0, 72.0], subset="script")
    text = tables.write(tmp_path, "main", [MHCNN, GLAM, script])
    assert text == (tmp_path / "table.md").read_text()
    assert "## main: iemocap impro" in text and "## main: iemocap script" in text
    assert "71.44 ± 2.05" in text  # the paper's for the scripted part
    latex = (tmp_path / "table.tex").read_text()
    for what in ("table", "tabular"):
        assert latex.count(rf"\begin{{{what}}}") == 3
        assert latex.count(rf"\end{{{what}}}") == 3
    assert r"\caption{main: iemocap impro, protocol paper, 50 epochs. In" in latex
    assert r"95 \% interval" in latex
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 4
    first = rows[0]
    assert (first["row"], first["epoch"], first["measure"]) == (
        "mhcnn",
        "selected",
        "wa",
    )
    assert float(first["mean"]) == 80 and float(first["paper_mean"]) == 76.09
    assert {r["paper_mean"] for r in rows if r["epoch"] == "last"} == {""}
    with (tmp_path / "pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 4  # two epochs, two measures
    assert float(pairs[0]["p"]) == pytest.approx(0.12, abs=0.001)
