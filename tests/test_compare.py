"""Comparisons: what can be compared, differences by hand, and the command's files."""

import dataclasses
import functools
import pathlib

import invented
import numpy as np
import pytest
from commands import run_command

from data_prep import text
from glam_jax import comparison, results

ROOT = pathlib.Path(__file__).parents[1]
GLAM = invented.training("glam", [80.0, 82.0, 84.0])
MHCNN = invented.training("mhcnn", [79.0, 80.0, 81.0])


def changed(training, **fields):
    return dataclasses.replace(training, **fields)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (invented.training("x", [1, 2]), "one has 3 runs and the other 2"),
        (changed(MHCNN, runs=MHCNN.runs + 1), "their runs have different numbers"),
        (
            invented.training("x", [1, 2, 3], tested=("a", "b", "c", "e")),
            "run 0 is tested on 4 and 4 utterances, of which 2 are not in both, such "
            "as d",
        ),
        (
            invented.training("x", [1, 2, 3], classes=["neutral", "sad"]),
            "their classes are neutral, sad, angry, excited and neutral, sad",
        ),
        (
            invented.training("x", [1, 2, 3], protocol="speaker"),
            "their epochs are chosen differently: test and last",
        ),
        (
            changed(MHCNN, labels=(MHCNN.labels + 1) % 4),
            "utterance a has another class or another recording",
        ),
        (
            changed(
                MHCNN, groups=MHCNN.groups | {"b": {"speaker": "", "content": "new"}}
            ),
            "utterance b has another class or another recording",
        ),
        (MHCNN, ""),
    ],
)
def test_what_differs_is_named(other, message):
    assert comparison.what_differs(GLAM, other) == message
    assert bool(comparison.pairs([GLAM, other])) == (message == "")


def test_a_difference_over_runs_by_hand():
    """GLAM - MHCNN in WA: 1, 2, 3; the interval as in test_metrics."""
    first, *others = comparison.over_runs(MHCNN, GLAM)
    assert (first["over"], first["epoch"], first["measure"]) == (
        "runs",
        "selected",
        "wa",
    )
    assert (first["n"], first["mean"]) == (3, pytest.approx(2))
    assert first["high"] - 2 == 2 - first["low"] == pytest.approx(3.286, abs=1e-3)
    assert first["p"] == pytest.approx(0.12, abs=1e-3)
    assert [(line["epoch"], line["measure"]) for line in others] == [
        ("selected", "ua"),
        ("last", "wa"),
        ("last", "ua"),
    ]


def test_a_difference_over_speakers_by_hand():
    """Six speakers better by 1 to 6 points: one of 2^5 rankings is as extreme."""
    found = comparison.speaker_difference([61, 62, 63, 64, 65, 66], [60] * 6)
    assert found["mean"] == 3.5
    assert found["p"] == pytest.approx(2 / 2**6)
    # The bootstrap's mean has the sd of the six over the root of six, 0.697.
    assert found["low"] == pytest.approx(3.5 - 1.96 * 0.697, abs=0.15)
    assert found["high"] == pytest.approx(3.5 + 1.96 * 0.697, abs=0.15)
    assert found == comparison.speaker_difference([61, 62, 63, 64, 65, 66], [60] * 6)


def test_equal_speakers_have_no_p_and_one_has_no_interval():
    equal = comparison.speaker_difference([60, 70], [60, 70])
    assert equal == {"mean": 0, "low": 0, "high": 0, "p": None}
    alone = comparison.speaker_difference([60], [50])
    assert alone == {"mean": 10, "low": None, "high": None, "p": None}


def test_a_speaker_is_measured_over_all_runs_together():
    """Two runs, of which each tests both speakers on two classes."""
    tested = ("a", "b", "c", "d")
    training = invented.training("glam", [1, 2], tested, protocol="speaker_folds")
    speakers = dict(zip(tested, ("s0", "s0", "s1", ""), strict=True))
    right = np.array([True, False, True, True, True, True, False, True])
    training = changed(
        training,
        labels=np.array([0, 1, 0, 1] * 2),
        probabilities=np.eye(4)[np.where(right, [0, 1, 0, 1] * 2, 3)],
        groups={key: {"speaker": speaker} for key, speaker in speakers.items()},
    )
    found = comparison.by_speaker(training)
    assert {name: (of["wa"], of["ua"]) for name, of in found.items()} == {
        "s0": (75, 75),  # a twice right, b once
        "s1": (50, 50),
    }


def test_speakers_who_were_trained_on_are_not_compared():
    honest = [
        invented.training(name, [1, 2], protocol="speaker") for name in ("a", "b")
    ]
    assert {pair["over"] for pair in comparison.pairs(honest)} == {"runs", "speakers"}
    assert {pair["over"] for pair in comparison.pairs([GLAM, MHCNN])} == {"runs"}
    unknown = invented.training(
        "c", [1, 2], protocol="speaker", splits={"both_sides": {}}
    )
    assert not comparison.held_out_speakers([honest[0], unknown])


def test_trainings_of_one_model_are_told_apart_by_their_folders():
    folders = [pathlib.Path(name) for name in ("x/one", "x/two", "y/two", "z")]
    trainings = [changed(GLAM, folder=folder) for folder in folders[:3]]
    trainings.append(changed(MHCNN, folder=folders[3]))
    names = [training.name for training in results.told_apart(trainings)]
    assert names == ["one", "x/two", "y/two", "mhcnn"]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Three trainings with a speaker left out, and one that tests on others."""
    folder = tmp_path_factory.mktemp("trainings")
    invented.write(folder / "glam", wrong=[], protocol="speaker")
    invented.write(folder / "mhcnn", wrong=[0], protocol="speaker", model="mhcnn")
    invented.write(folder / "worse", wrong=[0, 1, 4], protocol="speaker", model="mhcnn")
    invented.write(
        folder / "other", [], tested=((0, 1, 2), (4, 5, 6, 7)), protocol="speaker"
    )
    return folder


command = functools.partial(run_command, "glam_jax.compare")


def test_the_command_writes_tables_pairs_and_figures(trainings):
    result = command("glam", "mhcnn", "worse", "--out=new/out", folder=trainings)
    assert result.returncode == 0, result.stderr
    out = trainings / "new" / "out"
    written = (out / "table.md").read_text()
    assert written in result.stdout
    assert "| mhcnn | 2   | 87.50 ± 17.68 |" in written
    assert "worse against mhcnn" in written
    header, rows = text.read_csv(out / "pairs.csv")
    pairs = [dict(zip(header, row, strict=True)) for row in rows]
    assert len(pairs) == 3 * 2 * 2  # pairs of trainings, over what, measures
    of_speakers = [pair for pair in pairs if pair["over"] == "speakers"]
    first = of_speakers[0]
    assert (first["row"], first["against"], first["n"]) == ("mhcnn", "glam", "2")
    assert float(first["mean"]) == -12.5  # 75 instead of 100 of one speaker in two
    assert (float(first["low"]), float(first["high"])) == (-25, 0)
    for name in ("confusion", "curves", "reliability"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name two or more different folders"),
        (["glam", "../{}/glam"], "name two or more different folders"),
        (["glam", "nowhere"], "nowhere holds no finished training"),
        (
            ["glam", "mhcnn", "other"],
            "glam and other cannot be compared: run 0 is tested on 4 and 3 utterances",
        ),
    ],
)
def test_the_command_refuses_in_one_sentence(trainings, arguments, message):
    arguments = [argument.format(trainings.name) for argument in arguments]
    result = command(*arguments, folder=trainings)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (trainings / "compared").exists()
