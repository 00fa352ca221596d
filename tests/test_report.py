"""The report of finished runs, from their files: numbers by hand, true class names."""

import json

import invented
import numpy as np
import pytest
from matplotlib import image

from configs import iemocap
from glam_jax import report

# Two runs of two test utterances. Run 0 is best after epoch 1, run 1 after epoch 2.
WA = {0: (100.0, 50.0), 1: (50.0, 50.0)}
SPLITS = invented.SPLITS | {
    "both_sides": {"speaker": {"shared": 2, "tested": 2}},
    "warnings": ["class sad is tested, but no utterance of it trains, in run 0"],
}
UA = {0: (100.0, 50.0), 1: (50.0, 60.0)}


def write_training(folder, protocol):
    config = iemocap.get_config()
    config.protocol, config.num_epochs = protocol, 2
    ids, speakers = np.array(["a", "b"]), np.array(["s0", "s1"])
    outputs = invented.describe(folder, config, ids, np.array([0, 1]), speakers)
    for run in (0, 1):
        for epoch in (1, 2):
            row = {"run": run, "seed": run, "fold": "", "epoch": epoch, "loss": 1.0}
            row["train_utterances"] = 8
            row |= dict.fromkeys(("macro_f1", "weighted_f1"), 50.0)
            row |= {"wa": WA[run][epoch - 1], "ua": UA[run][epoch - 1]}
            row |= {"validation_wa": epoch, "validation_ua": epoch}
            outputs.metrics.add(row)
        # One neutral utterance, and one sad one that run 1 takes for angry.
        probabilities = np.eye(4)[[0, 1 + run]]
        outputs.predictions.add(run, ids, np.array([0, 1]), probabilities)
    report.save_embedding(folder, np.eye(2), np.array([0, 1]))


@pytest.fixture
def folder(tmp_path):
    write_training(tmp_path, "paper")
    return tmp_path


def test_summaries_by_hand(folder):
    summary = report.write(folder, SPLITS)["summary"]
    assert summary["selected"]["wa"]["mean"] == 75  # 100 and 50
    assert summary["selected"]["ua"]["mean"] == 80  # 100 and 60
    assert summary["last"]["wa"]["mean"] == 50
    assert summary["last"]["ua"]["mean"] == 55
    assert summary["best_on_test"] == summary["selected"]
    assert summary["selected"]["wa"]["sd"] == pytest.approx(50 / 2**0.5)
    assert summary["selected"]["wa"]["n"] == 2


def test_validation_selects_without_looking_at_the_test(tmp_path):
    write_training(tmp_path, "paper_811")
    written = report.write(tmp_path, SPLITS)
    assert [run["selected"]["epoch"] for run in written["runs"]] == [2, 2]
    assert written["summary"]["best_on_test"]["wa"]["mean"] == 75


def test_confusion_matrix_has_true_names_in_the_order_of_the_labels(folder):
    written = report.write(folder, SPLITS)
    assert written["classes"] == ["neutral", "sad", "angry", "excited"]
    assert written["confusion_matrix"] == [
        [2, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    text = " ".join((folder / "report.md").read_text().split())
    assert "| sad | 0 | 1 | 1 | 0 |" in text


def test_the_table_shows_the_reported_and_the_last_epoch(folder):
    table = " ".join(report.table(report.write(folder, SPLITS)).split())
    assert "(optimistic)** | 75.00 ± 35.36 (± 389.05)" in table
    assert "| last epoch | 50.00 ± 0.00" in table


def test_the_optimistic_epoch_stands_beside_the_one_chosen_on_validation(tmp_path):
    write_training(tmp_path, "paper_811")
    rows = report.table(report.write(tmp_path, SPLITS)).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "**reported: best epoch on the validation utterances**",
        "last epoch",
        "best epoch on the test fold (optimistic)",
    ]


def test_what_stands_on_both_sides_is_reported(folder):
    written = report.write(folder, SPLITS)
    assert written["splits"] == SPLITS
    text = (folder / "report.md").read_text()
    assert "on both sides: 2 of 2 speakers" in text
    assert "**Warning: class sad is tested, but no utterance of it trains" in text


def test_the_report_says_how_it_was_made(folder):
    report.write(folder, SPLITS)
    text = " ".join((folder / "report.md").read_text().split())
    for told in (
        "| features | mfcc 26 x 57 of segments of 28800 samples",
        "optimizer adam, learning_rate 0.001, schedule exp",
        "| versions | glam_jax 0, jax 0 |",
        "| devices | 1 x cpu |",
        f"| data digest | {'0' * 64} |",
    ):
        assert told in text


def test_pictures_are_written(folder):
    report.write(folder, SPLITS)
    for name in ("confusion.png", "curves.png", "embedding.png"):
        assert image.imread(folder / name).std() > 0


def test_report_json_is_what_is_returned(folder):
    written = report.write(folder, SPLITS)
    assert json.loads((folder / "report.json").read_text()) == written
