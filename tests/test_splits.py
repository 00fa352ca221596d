"""Protocols: the reference's splits, folds, and no speaker on both sides."""

import json

import numpy as np
import pytest
from conftest import DATA

from glam_jax import splits


def groups(speakers, sessions=None, dialogues=None):
    nothing = [""] * len(speakers)
    return splits.Groups(
        *(
            np.array(values)
            for values in (speakers, sessions or nothing, dialogues or nothing)
        )
    )


# Two sessions of two speakers and two dialogues each, as in IEMOCAP.
IEMOCAP = groups(
    speakers=["Ses01F", "Ses01M", "Ses01F", "Ses01M", "Ses02F", "Ses02M"],
    sessions=["Ses01"] * 4 + ["Ses02"] * 2,
    dialogues=["a", "a", "b", "b", "c", "c"],
)


def test_random_splits_are_the_references():
    """Test utterances of three seeds on EmoDB."""
    reference = json.loads((DATA / "emodb_reference_splits.json").read_text())
    ids = np.array(reference["ids"])
    for seed, test_ids in reference["test_ids"].items():
        split = splits.split("paper", groups(["x"] * len(ids)), int(seed), "")
        assert list(ids[split.test]) == test_ids


@pytest.mark.parametrize("protocol", splits.PROTOCOLS)
def test_no_utterance_is_used_twice(protocol):
    for fold in splits.folds(protocol, IEMOCAP):
        split = splits.split(protocol, IEMOCAP, 0, fold)
        used = np.concatenate([split.train, split.validation, split.test])
        assert len(used) == len(set(used))
        assert len(split.train) and len(split.test)


def test_811_validates_on_a_tenth():
    split = splits.split("paper_811", groups(["x"] * 100), 0, "")
    assert [len(part) for part in (split.train, split.validation, split.test)] == [
        80,
        10,
        10,
    ]


def test_session_folds_leave_each_session_out():
    assert splits.folds("session", IEMOCAP) == ["Ses01", "Ses02"]
    split = splits.split("session", IEMOCAP, 0, "Ses02")
    assert list(split.train) == [0, 1, 2, 3]
    assert list(split.test) == [4, 5]


def test_partner_of_a_held_out_speaker_does_not_train():
    split = splits.split("speaker", IEMOCAP, 0, "Ses01F")
    assert list(split.test) == [0, 2]
    assert list(split.train) == [4, 5]  # Ses01M shares the dialogues


def test_speakers_without_dialogues_all_train():
    split = splits.split("speaker", groups(["03", "08", "03", "09"]), 0, "03")
    assert list(split.train) == [1, 3]


def test_session_protocol_needs_sessions():
    with pytest.raises(ValueError, match=r"0 sessions.*protocol=speaker"):
        splits.folds("session", groups(["03", "08"]))


def test_unknown_protocol_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"'loso'.*paper, paper_811, session, speaker"):
        splits.protocol("loso")


@pytest.mark.parametrize("what", ["speaker Ses01F", "dialogue c"])
def test_a_leak_is_refused_by_name(what):
    train = {"speaker Ses01F": [0, 4], "dialogue c": [0, 1, 2, 3, 4]}[what]
    test = {"speaker Ses01F": [2], "dialogue c": [5]}[what]
    split = splits.Split(np.array(train), np.array([], int), np.array(test))
    with pytest.raises(ValueError, match=what):
        splits.check_independent(split, IEMOCAP)
