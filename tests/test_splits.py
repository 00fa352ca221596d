"""Protocols: the reference's splits, folds, and no speaker on both sides."""

import dataclasses
import functools
import hashlib
import json
import pathlib

import numpy as np
import pytest
from commands import run_command
from helpers import DATA, prepare

from data_prep.corpora import demo
from glam_jax import splits
from glam_jax.splits import leakage, split_files

ROOT = pathlib.Path(__file__).parents[1]


def groups(speaker, **others):
    """Groups of utterances; what is not given is unknown."""
    unknown = [""] * len(speaker)
    names = [field.name for field in dataclasses.fields(splits.Groups)]
    values = dict.fromkeys(names, unknown) | {"speaker": speaker} | others
    return splits.Groups(**{name: np.array(value) for name, value in values.items()})


# Two sessions of two speakers and two dialogues each, as in IEMOCAP.
IEMOCAP = groups(
    speaker=["Ses01F", "Ses01M", "Ses01F", "Ses01M", "Ses02F", "Ses02M"],
    session=["Ses01"] * 4 + ["Ses02"] * 2,
    dialogue=["a", "a", "b", "b", "c", "c"],
)
# Four speakers who say two texts each, as in EmoDB.
EMODB = groups(["03", "08", "09", "10"] * 2, text=["a01"] * 4 + ["b02"] * 4)
# A table with a split of its own; the last row is in none of its parts.
TABLE = groups(
    ["a", "a", "b", "b", "c"], part=["train", "test", "train", "validation", ""]
)
CORPORA = {"text": EMODB, "table": TABLE}


def test_parts(protocol, corpus, num_folds=2):
    """The test utterances of each fold, None for a random split."""
    folds = splits.folds(protocol, corpus, num_folds)
    return list(folds.values()) or [None]


test_parts.__test__ = False


def test_random_splits_are_the_references():
    """Test utterances of three seeds on EmoDB."""
    reference = json.loads((DATA / "emodb_reference_splits.json").read_text())
    ids = np.array(reference["ids"])
    for seed, test_ids in reference["test_ids"].items():
        split = splits.split("paper", groups(["x"] * len(ids)), int(seed))
        assert list(ids[split.test]) == test_ids


# Those that hold something out.
HONEST = [name for name, row in splits.PROTOCOLS.items() if row.holds_out]


@pytest.mark.parametrize("protocol", HONEST)
def test_no_utterance_is_used_twice(protocol):
    corpus = CORPORA.get(protocol, IEMOCAP)
    for test in test_parts(protocol, corpus):
        split = splits.split(protocol, corpus, 0, test)
        used = np.concatenate([split.train, split.validation, split.test])
        assert len(used) == len(set(used))
        assert len(split.train) and len(split.test)


@pytest.mark.parametrize("protocol", ["session", "speaker", "speaker_folds", "text"])
def test_every_utterance_is_tested_once_over_the_folds(protocol):
    corpus = EMODB if protocol == "text" else IEMOCAP
    tested = np.concatenate(test_parts(protocol, corpus))
    assert sorted(tested) == list(range(len(corpus.speaker)))


def test_811_validates_on_a_tenth():
    split = splits.split("paper_811", groups(["x"] * 100), 0)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [
        80,
        10,
        10,
    ]


def test_session_folds_leave_each_session_out():
    folds = splits.folds("session", IEMOCAP, 5)
    assert list(folds) == ["Ses01", "Ses02"]
    split = splits.split("session", IEMOCAP, 0, folds["Ses02"])
    assert list(split.train) == [0, 1, 2, 3]
    assert list(split.test) == [4, 5]


def test_partner_of_a_held_out_speaker_does_not_train():
    folds = splits.folds("speaker", IEMOCAP, 5)
    split = splits.split("speaker", IEMOCAP, 0, folds["Ses01F"])
    assert list(split.test) == [0, 2]
    assert list(split.train) == [4, 5]  # Ses01M shares the dialogues


def test_speaker_folds_deal_whole_speakers():
    folds = splits.folds("speaker_folds", EMODB, 2)
    assert list(folds) == ["fold0", "fold1"]
    for test in folds.values():
        split = splits.split("speaker_folds", EMODB, 0, test)
        assert len(set(EMODB.speaker[split.test])) == 2
        assert not set(EMODB.speaker[split.test]) & set(EMODB.speaker[split.train])


def test_speaker_folds_test_nobody_without_a_name():
    some = groups(["a", "", "b", "", "c", ""])
    folds = splits.folds("speaker_folds", some, 3)
    assert sorted(np.concatenate([*folds.values()]).tolist()) == [0, 2, 4]
    assert set(splits.split("speaker_folds", some, 0, folds["fold0"]).train) >= {1, 3}
    # Where sessions are known, they are dealt.
    some = groups(["", "", "", ""], session=["1", "1", "2", "2"])
    assert len(splits.folds("speaker_folds", some, 2)) == 2


def test_speaker_folds_deal_speakers_who_come_in_several_sessions():
    speakers, sessions = ["a", "b", "c", "d"] * 2, ["1"] * 4 + ["2"] * 4
    again = groups(speakers, session=sessions)
    folds = splits.folds("speaker_folds", again, 4)
    assert len(folds) == 4
    for test in folds.values():
        assert len(set(again.speaker[test])) == 1
        assert len(splits.split("speaker_folds", again, 0, test).train) == 6
    with pytest.raises(splits.Impossible, match="'session' refuses this split"):
        splits.split("session", again, 0, np.arange(4))


def test_who_is_not_named_in_a_session_of_several_may_be_any_of_them():
    speakers, sessions = (
        ["a", "b", "c", "a", "b", "c", ""],
        ["1"] * 3 + ["2"] * 3 + ["1"],
    )
    folds = splits.folds("speaker_folds", groups(speakers, session=sessions), 3)
    assert 6 not in np.concatenate([*folds.values()])


def test_speaker_folds_keep_the_partners_of_a_session_together():
    folds = splits.folds("speaker_folds", IEMOCAP, 2)
    assert [list(test) for test in folds.values()] == [[0, 1, 2, 3], [4, 5]]


def test_text_folds_leave_each_text_out():
    split = splits.split("text", EMODB, 0, splits.folds("text", EMODB, 5)["b02"])
    assert list(split.train) == [0, 1, 2, 3]
    assert list(split.test) == [4, 5, 6, 7]


def test_everything_trains():
    twice = groups(["03", "03", "08"], content=["a", "a", "b"])
    split = splits.split("everything", twice, 0)
    assert list(split.train) == list(split.test) == [0, 1, 2]
    assert not len(split.validation)
    ids = np.array(["a", "b", "c"])
    written = split_files.to_csv(ids, ["all"], [split])
    assert written.split() == ["utterance,all", "a,train", "b,train", "c,train"]


@pytest.mark.parametrize("protocol", HONEST)
def test_a_recording_never_trains_while_an_identical_one_is_held_out(protocol):
    """Every recording is there twice, by two speakers in two sessions and texts."""
    count = 20
    twice = groups(
        speaker=["A", "B"] * count,
        session=["1", "2"] * count,
        text=["x", "y"] * count,
        content=np.repeat(np.arange(count), 2).astype(str),
        part=["train", "test"] * count,
    )
    twice.content[:20] = ""  # what is not known cannot be compared
    for test in test_parts(protocol, twice):
        split = splits.split(protocol, twice, 0, test)
        held_out = set(twice.content[np.r_[split.validation, split.test]]) - {""}
        assert len(split.train) and held_out
        assert not held_out & set(twice.content[split.train])


def test_speakers_without_dialogues_all_train():
    corpus = groups(["03", "08", "03", "09"])
    split = splits.split("speaker", corpus, 0, splits.folds("speaker", corpus, 5)["03"])
    assert list(split.train) == [1, 3]


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("session", r"needs 2 sessions, but the data have 0; they allow paper"),
        ("speaker_folds", r"needs 5 groups of speakers .* have 2"),
        ("text", r"needs 2 texts, but the data have 0"),
    ],
)
def test_data_with_too_few_groups_are_refused(protocol, message):
    with pytest.raises(splits.Impossible, match=f"^protocol '{protocol}' {message}"):
        splits.folds(protocol, groups(["03", "08"]), 5)


@pytest.mark.parametrize(
    ("data", "num_folds", "allowed"),
    [
        (IEMOCAP, 2, ["paper", "paper_811", "session", "speaker", "speaker_folds"]),
        (EMODB, 5, ["paper", "paper_811", "speaker", "text"]),  # four speakers
        (groups([""] * 3), 2, ["paper", "paper_811"]),
    ],
)
def test_the_data_say_which_protocols_are_possible(data, num_folds, allowed):
    assert splits.possible(data, num_folds) == allowed


def test_unknown_protocol_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"'loso'.*paper, paper_811, session, speaker"):
        splits.protocol("loso")


LEAKS = {
    "speaker Ses01F": splits.Split(np.array([0, 4]), np.array([], int), np.array([2])),
    "dialogue c": splits.Split(np.arange(5), np.array([], int), np.array([5])),
}


@pytest.mark.parametrize("protocol", ["session", "speaker", "speaker_folds"])
@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_is_refused_by_name(protocol, what):
    with pytest.raises(ValueError, match=what):
        splits.check_independent(protocol, LEAKS[what], IEMOCAP)


@pytest.mark.parametrize("what", LEAKS)
def test_the_papers_protocol_reports_a_leak(what):
    splits.check_independent("paper", LEAKS[what], IEMOCAP)
    both_sides = leakage.measure([LEAKS[what]], IEMOCAP)
    assert both_sides[what.split()[0]] == {"shared": 1, "tested": 1}
    assert f"1 of 1 {what.split()[0]}s" in leakage.describe(both_sides)


def test_an_utterance_without_a_name_may_be_of_a_speaker_who_is_tested():
    split = splits.Split(np.array([0, 1]), np.array([], int), np.array([2]))
    named, unnamed = (groups([first, "b", "c"]) for first in ("a", ""))
    assert leakage.heard(leakage.measure([split], named)) is False
    assert leakage.heard(leakage.measure([split], unnamed)) is None
    assert leakage.heard(leakage.measure([split], groups(["c", "", "c"]))) is True
    assert leakage.heard({}) is None


def test_a_split_file_gives_the_splits_back(tmp_path):
    ids = np.array([f"utterance{k}" for k in range(26)] + ["a,b", '"c"', "d\r", "=e"])
    written = [splits.split("paper_811", groups(["x"] * 30), seed) for seed in (0, 1)]
    text = split_files.to_csv(ids, ["first", "second"], written)
    (tmp_path / "splits.csv").write_text(text, newline="")
    read = split_files.read(tmp_path / "splits.csv", ids)
    assert list(read) == ["first", "second"]
    for ours, theirs in zip(read.values(), written, strict=True):
        for part in split_files.PARTS:
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    assert split_files.digest(
        split_files.to_csv(ids, ["first", "second"], list(read.values()))
    ) == (hashlib.sha256((tmp_path / "splits.csv").read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must be utterance"),
        ("id,fold\na,train\n", "first line must be utterance"),
        ("utterance,fold\na,tain\n", "line 2: 1 cells of train, validation, test"),
        ("utterance,fold\na,train,test\n", "line 2: 1 cells"),
        ("utterance,f,f\na,train,test\n", "two columns of one name"),
        ("utterance,fold\na,train\na,test\n", "names an utterance twice"),
        ("utterance,fold\na,train\nz,test\n", "1 utterances are not in .* such as z"),
        ("utterance,fold\na,train\nb,train\n", "fold has no test utterance"),
    ],
)
def test_a_bad_split_file_is_refused_with_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        split_files.read(path, np.array(["a", "b"]))


def test_a_split_file_saved_by_a_spreadsheet_is_read(tmp_path):
    """With a byte-order mark, and an empty last line."""
    path = tmp_path / "splits.csv"
    path.write_text("utterance,fold\na,train\nb,test\n\n", encoding="utf-8-sig")
    split = split_files.read(path, np.array(["a", "b"]))["fold"]
    assert list(split.train) == [0] and list(split.test) == [1]


def test_copies_in_training_and_validation_are_refused():
    corpus = groups(["A", "B", "C"], content=["x", "x", "y"])
    copied = splits.Split(*np.arange(3).reshape(3, 1))
    with pytest.raises(ValueError, match="validation's content x"):
        splits.check_independent("paper_811", copied, corpus)


def test_a_missing_split_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv"):
        split_files.read(tmp_path / "none.csv", np.array(["a"]))


def test_the_command_writes_a_split_file_and_what_is_on_both_sides(data_dir, tmp_path):
    prepare(demo.read(data_dir / "demo_corpus"), "demo", tmp_path, 28800, 3199)
    (tmp_path / "mine.py").write_text(
        "from configs import demo\n\n\ndef get_config(options=''):\n"
        "    config = demo.get_config(options)\n    config.num_runs = 0\n"
        "    config.data_dir = '.'\n    return config\n"
    )
    result = command(
        "--config=mine.py",
        "--config.protocol=session",
        "--out=new/mine.csv",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "Ses01: 56 train, 56 test; on both sides: 0 of 2 speakers" in result.stdout
    out = tmp_path / "new" / "mine.csv"
    rows = out.read_text().splitlines()
    assert rows[0] == "utterance,Ses01,Ses02"
    assert len(rows) == 1 + 112
    assert hashlib.sha256(out.read_bytes()).hexdigest() in result.stdout
    result = command(
        "--config=mine.py", "--config.protocol=text", "--out=text.csv", folder=tmp_path
    )
    assert result.returncode == 1 and not (tmp_path / "text.csv").exists()
    assert "'text' needs 2 texts, but the data have 0; they allow" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/emo.py"], "configs/emo.py"),
        (["--config=configs/emodb.py", "--config.protocol=loso"], "speaker_folds"),
        (["--config=configs/emodb.py", "--config.num_runs=-1"], "must be from 0 to"),
        (
            ["--config=configs/emodb.py", "--config.data_dir=nowhere"],
            "python -m data_prep.build",
        ),
    ],
)
def test_the_command_refuses_what_is_wrong_and_says_what_is_right(arguments, message):
    result = command(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


command = functools.partial(run_command, "glam_jax.split")
