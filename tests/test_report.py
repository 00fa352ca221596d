"""The report of finished runs, from their files: numbers by hand, true class names."""

import dataclasses
import json
import pathlib
import shutil

import invented
import numpy as np
import pytest
from matplotlib import image

from configs import iemocap
from glam_jax import report, results

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


@dataclasses.dataclass(frozen=True)
class Written:
    """A report in its folder; tests that change the folder copy it."""

    folder: pathlib.Path
    report: dict

    @property
    def text(self):
        return " ".join((self.folder / "report.md").read_text().split())


def write_report(folder, protocol):
    write_training(folder, protocol)
    return Written(folder, report.write(folder, SPLITS))


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("paper"), "paper")


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("paper_811"), "paper_811")


def test_summaries_by_hand(paper):
    summary = paper.report["summary"]
    assert summary["selected"]["wa"]["mean"] == 75  # 100 and 50
    assert summary["selected"]["ua"]["mean"] == 80  # 100 and 60
    assert summary["last"]["wa"]["mean"] == 50
    assert summary["last"]["ua"]["mean"] == 55
    assert summary["best_on_test"] == summary["selected"]
    assert summary["selected"]["wa"]["sd"] == pytest.approx(50 / 2**0.5)
    assert summary["selected"]["wa"]["n"] == 2


def test_validation_selects_without_looking_at_the_test(validated):
    written = validated.report
    assert [run["selected"]["epoch"] for run in written["runs"]] == [2, 2]
    assert written["summary"]["best_on_test"]["wa"]["mean"] == 75


def test_confusion_matrix_has_true_names_in_the_order_of_the_labels(paper):
    written = paper.report
    assert written["classes"] == ["neutral", "sad", "angry", "excited"]
    assert written["confusion_matrix"] == [
        [2, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    text = paper.text
    assert "| sad | 0 | 1 | 1 | 0 |" in text


def test_the_table_shows_the_reported_and_the_last_epoch(paper):
    table = " ".join(report.table(paper.report).split())
    assert "(optimistic)** | 75.00 ± 35.36 (± 389.05)" in table
    assert "| last epoch | 50.00 ± 0.00" in table


def test_the_optimistic_epoch_stands_beside_the_one_chosen_on_validation(validated):
    rows = report.table(validated.report).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "**reported: best epoch on the validation utterances**",
        "last epoch",
        "best epoch on the test fold (optimistic)",
    ]


def test_what_stands_on_both_sides_is_reported(paper):
    assert paper.report["splits"] == SPLITS
    text = paper.text
    assert "on both sides: 2 of 2 speakers" in text
    assert "**Warning: class sad is tested, but no utterance of it trains" in text


def test_the_report_says_how_it_was_made(paper):
    for told in (
        "| features | mfcc 26 x 57 of segments of 28800 samples",
        "optimizer adam, learning_rate 0.001, schedule exp",
        "| versions | glam_jax 0, jax 0 |",
        "| devices | 1 x cpu |",
        f"| data digest | {'0' * 64} |",
    ):
        assert told in paper.text


def test_pictures_are_written(paper):
    for name in ("confusion.png", "curves.png", "embedding.png"):
        assert image.imread(paper.folder / name).std() > 0


def test_report_json_is_what_is_returned(paper):
    written = json.loads((paper.folder / "report.json").read_text())
    assert written == paper.report


def test_the_title_names_what_was_used(paper):
    """A split file with 449 of 4481 utterances; the others are not spoken of."""
    utterances = {
        "used": 449,
        "of": 4481,
        "too_short": 46,
        "train": [359, 360],
        "validation": [0, 0],
        "test": [89, 90],
    }
    used = SPLITS | {"file": "x/mine.csv", "file_sha256": "1a2b3c4d5e" * 6}
    written = paper.report | {"splits": used | {"utterances": utterances}}
    title = (
        "glam on iemocap impro, protocol paper, split file mine.csv (1a2b3c4d), 2 runs "
        "of 2 epochs; 449 of 4481 utterances: 359 to 360 train, 89 to 90 test; 46 "
        "shorter than a segment are left out"
    )
    assert report.title(written) == title
    text = " ".join(report.markdown(written).split())
    assert text.startswith(f"# {title}")
    assert f"| split file | x/mine.csv, SHA-256 {'1a2b3c4d5e' * 6} |" in text


def test_the_recipe_says_what_differs_from_the_models_own(paper):
    assert "; it differs from the recipe of glam in num_epochs 2 (not 50)" in paper.text


def test_a_model_of_ones_own_has_the_recipe_of_glam(paper):
    written = paper.report
    written = written | {
        "model": "my_module:MyNet",
        "recipe": written["recipe_of_model"],
    }
    assert dict(report.origin(written))["recipe"].endswith(": the recipe of GLAM")


def test_an_embedding_of_other_utterances_is_refused(paper, tmp_path):
    folder = shutil.copytree(paper.folder, tmp_path / "copy")
    report.save_embedding(folder, np.eye(2), np.array([1, 0]))
    with pytest.raises(ValueError, match=r"embedding\.npz is not of the test utt"):
        results.read(folder, paper.report)
    with pytest.raises(ValueError, match=r"embedding\.npz"):
        results.read(folder)


def test_a_report_of_an_earlier_version_is_named(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"splits": {"file": ""}}))
    with pytest.raises(ValueError, match="written by an earlier version"):
        results.read_report(tmp_path)
