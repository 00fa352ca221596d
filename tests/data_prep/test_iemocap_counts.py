"""All 10,039 turns of IEMOCAP, made up, give every published number of the corpus."""

import itertools
import os
import pathlib
import wave
from collections import Counter

import numpy as np
import pytest
from small_corpora import add_label, wav_of

from configs import iemocap as iemocap_config
from data_prep import preparation
from data_prep.corpora import iemocap
from glam_jax.splits import labels

EMOTIONS = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "sad": 1084,
    "neu": 1708,
    "fru": 1849,
    "sur": 107,
    "fea": 40,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}
# Turns of any length, of at least 1.8 s, of at least 2.0 s, in the paper's classes.
PAPER = {
    "impro": {
        "neutral": (1099, 883, 834),
        "sad": (608, 557, 535),
        "angry": (289, 266, 257),
        "excited": (663, 530, 492),
        "total": (2659, 2236, 2118),
    },
    "script": {
        "neutral": (609, 534, 486),
        "sad": (476, 447, 432),
        "angry": (814, 730, 691),
        "excited": (378, 364, 357),
        "total": (2277, 2075, 1966),
    },
    "full": {
        "neutral": (1708, 1417, 1320),
        "sad": (1084, 1004, 967),
        "angry": (1103, 996, 948),
        "excited": (1041, 894, 849),
        "total": (4936, 4311, 4084),
    },
}
STANDARD = {"neutral": 1708, "sad": 1084, "angry": 1103, "happy": 1636, "total": 5531}

WORDS = {"neutral": "neu", "sad": "sad", "angry": "ang", "excited": "exc"}
DIALOGUES = {
    "impro": [f"impro{number:02}" for number in range(1, 9)],
    "script": [f"script{number:02}_{part}" for number in (1, 2, 3) for part in (1, 2)],
}
RATE = 16  # kHz


def plan() -> list[tuple[str, str, int]]:
    """(kind, emotion, milliseconds) of all turns, in no order."""
    rng = np.random.default_rng(0)
    turns = []
    for kind in ("impro", "script"):
        for name, word in WORDS.items():
            every, medium, long = PAPER[kind][name]
            short = [1799, *rng.integers(600, 1800, every - medium - 1)]
            between = [1800, 1999, *rng.integers(1800, 2000, medium - long - 2)]
            lengths = [*short, *between, 2000, *rng.integers(2000, 3000, long - 1)]
            turns += [(kind, word, int(length)) for length in lengths]
    others = {word: n for word, n in EMOTIONS.items() if word not in WORDS.values()}
    for word, every in others.items():
        kinds = rng.choice(["impro", "script"], every)
        lengths = rng.integers(600, 3000, every)
        turns += [
            (str(kind), word, int(length))
            for kind, length in zip(kinds, lengths, strict=True)
        ]
    return [turns[index] for index in rng.permutation(len(turns))]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> pathlib.Path:
    """The corpus: five sessions, either actor with the markers, both speaking."""
    folder = tmp_path_factory.mktemp("IEMOCAP_full_release")
    heads = [f"Ses{session:02}{wearer}" for session in range(1, 6) for wearer in "FM"]
    dialogues = {
        kind: itertools.cycle([f"{head}_{name}" for head in heads for name in names])
        for kind, names in DIALOGUES.items()
    }
    numbers = Counter()
    sound = np.random.default_rng(1).bytes(3000 * RATE)
    of_length = {}  # turns of one length are links to one file: it is 70 MB so
    for index, (kind, emotion, length) in enumerate(plan()):
        speaker = f"{next(dialogues[kind])}_{'FFM'[index % 3]}"
        turn = f"{speaker}{numbers[speaker]:03}"
        numbers[speaker] += 1
        path = wav_of(folder, turn)
        path.parent.mkdir(parents=True, exist_ok=True)
        if length in of_length:
            os.link(of_length[length], path)
        else:
            of_length[length] = path
            with wave.open(str(path), "wb") as file:  # soundfile waits for the disk
                file.setparams((1, 1, 1000 * RATE, length * RATE, "NONE", ""))
                file.writeframes(sound[: length * RATE])
        add_label(folder, turn, emotion)
    return folder


@pytest.fixture(scope="module")
def turns(tree) -> list[preparation.Checked]:
    """All turns as the command has them after its check of the wavs."""
    corpus = iemocap.read(tree)
    usable, problems, converted = preparation.check_all(corpus, workers=1)
    assert problems == []
    assert converted == {}
    return usable


def count(turns: list[preparation.Checked], label_set: str, subset: str, shortest: int):
    """Counts the turns of each class of a config that have at least some samples."""
    config = iemocap_config.get_config(subset)
    class_of = {
        emotion: name
        for name, emotions in labels.parse(config.label_sets[label_set], "").items()
        for emotion in emotions
    }
    counts = Counter(
        class_of[turn.utterance.emotion]
        for turn in turns
        if preparation.split_of(turn.utterance) in config.tfds_splits
        and turn.utterance.emotion in class_of
        and turn.num_samples >= shortest
    )
    return {**counts, "total": counts.total()}


def test_there_are_10039_turns_of_eleven_emotions(turns):
    assert Counter(turn.utterance.emotion for turn in turns) == EMOTIONS
    assert len({turn.utterance.id for turn in turns}) == len(turns) == 10039


@pytest.mark.parametrize("subset", ["impro", "script", "full"])
@pytest.mark.parametrize(("column", "shortest"), [(0, 0), (1, 28800), (2, 32000)])
def test_the_papers_classes_have_the_published_counts(turns, subset, column, shortest):
    expected = {name: counts[column] for name, counts in PAPER[subset].items()}
    assert count(turns, "paper", subset, shortest) == expected


def test_the_standard_four_classes_are_5531_turns_of_any_length(turns):
    assert count(turns, "speaker_independent", "full", 0) == STANDARD


def test_the_command_knows_the_published_counts_too(turns, capsys):
    preparation.warn_of_counts("iemocap", turns)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("column", "segment"), [(1, 28800), (2, 32000)])
def test_the_summary_of_the_command_counts_the_same(turns, column, segment):
    words = list(WORDS.values())
    summary = preparation.table(
        preparation.keep_emotions(turns, words), segment, hop=3199
    )
    rows = [line.split() for line in summary.splitlines()]
    long = {(row[0], row[1]): int(row[2]) - int(row[4]) for row in rows[1:-1]}
    words = WORDS | {"total": "all"}
    assert long == {
        (kind, words[name]): counts[column]
        for kind in ("impro", "script")
        for name, counts in PAPER[kind].items()
    }


def test_ten_speakers_speak_whoever_wears_the_markers(turns):
    utterances = [turn.utterance for turn in turns]
    speakers = {
        f"Ses{session:02}{gender}" for session in range(1, 6) for gender in "FM"
    }
    assert {u.speaker for u in utterances} == speakers
    assert all(u.speaker == u.id[:5] + u.id[-4] for u in utterances)
    unlike = sum(u.speaker != u.id[:6] for u in utterances)
    assert unlike / len(utterances) == pytest.approx(0.5, abs=0.05)
