"""IEMOCAP (Busso et al. 2008): five sessions, ten speakers, acted dialogues."""

import pathlib
import re
from collections import Counter
from collections.abc import Iterable

from data_prep.corpora import (
    Corpus,
    Problem,
    Utterance,
    complete,
    existing_folder,
    wav_files,
)

# A summary line: [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5, 2.5, 2.5]
_SUMMARY = re.compile(r"^\[\d+\.\d+ - \d+\.\d+\]\t(\S+)\t(\S+)\t\[")
_TURN = re.compile(r"Ses\d\d[FM]_(impro|script)\w*_[FM][A-Za-z\d]+")
# The other lines: comments, and what each evaluator thought.
_NO_SUMMARY = re.compile(r"\s*(%|[AC]-[A-Z]|$)")
SPEAKERS = tuple(
    f"Ses{session:02}{gender}" for session in range(1, 6) for gender in "FM"
)

# Turns of the whole corpus by emotion.
TURNS = {
    "ang": 1103,
    "dis": 2,
    "exc": 1041,
    "fea": 40,
    "fru": 1849,
    "hap": 595,
    "neu": 1708,
    "oth": 3,
    "sad": 1084,
    "sur": 107,
    "xxx": 2507,
}
# (kind, emotion): turns of any length, of at least 1.8 s, of at least 2.0 s.
TURNS_BY_LENGTH = {
    ("impro", "neu"): (1099, 883, 834),
    ("impro", "sad"): (608, 557, 535),
    ("impro", "ang"): (289, 266, 257),
    ("impro", "exc"): (663, 530, 492),
    ("script", "neu"): (609, 534, 486),
    ("script", "sad"): (476, 447, 432),
    ("script", "ang"): (814, 730, 691),
    ("script", "exc"): (378, 364, 357),
}


def read(source: str | pathlib.Path) -> Corpus:
    """Lists the turns of an IEMOCAP release, `Session1` ... `Session5` below `source`.

    Labels are the summary lines of dialog/EmoEvaluation/*.txt. The kind comes from the
    turn's id, never from the path; the speaker is the session plus the F or M of the
    LAST token of the id (the one after `Ses01` says who wears the markers).

    Raises:
      ValueError: When `source` is not a folder or holds no such sessions.
    """
    source = existing_folder(source)
    sessions = sorted(source.glob("Session[0-9]*"))
    label_files = [
        file
        for session in sessions
        for file in sorted(session.glob("dialog/EmoEvaluation/*.txt"))
        if not file.name.startswith("._")  # left by macOS
    ]
    if not label_files:
        raise ValueError(
            f"{source} does not look like IEMOCAP: it has no "
            "Session*/dialog/EmoEvaluation/*.txt. Give the folder that holds "
            "Session1 ... Session5 (IEMOCAP_full_release)."
        )
    labelled_sessions = {file.parents[2] for file in label_files}
    utterances, problems, labelled = [], [], set()
    problems += [
        Problem(str(session), "has no dialog/EmoEvaluation/*.txt")
        for session in sessions
        if session.is_dir() and session not in labelled_sessions
    ]
    wavs: dict[str, pathlib.Path] = {}
    for session in sessions:
        for wav in wav_files(session, "sentences/wav/*/*"):
            if wavs.setdefault(wav.stem, wav) != wav:
                problems.append(Problem(str(wav), f"{wav.stem} is there twice"))
    for file in label_files:
        labels, not_understood = _labels(file)
        problems += not_understood
        for turn, emotion in labels:
            if turn in labelled:
                problems.append(Problem(str(file), f"{turn} is labelled twice"))
            elif not (match := _TURN.fullmatch(turn)):
                problems.append(Problem(str(file), f"{turn} is not a turn's name"))
            elif turn not in wavs:
                problems.append(Problem(str(file), f"{turn} has a label but no wav"))
            else:
                utterances.append(_utterance(match, emotion, wavs[turn]))
            labelled.add(turn)
    problems += [
        Problem(str(wavs[turn]), "has no label in dialog/EmoEvaluation")
        for turn in sorted(wavs.keys() - labelled)
    ]
    corpus = Corpus(sorted(utterances, key=lambda utterance: utterance.id), problems)
    return complete(
        corpus,
        source,
        f"only {source}/Session*/sentences/wav/*/*.wav",
        ("session*/dialog",),
        SPEAKERS,
    )


def _labels(file: pathlib.Path) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(turn, emotion) of each summary line, and the lines that are not understood."""
    labels, problems = [], []
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if match := _SUMMARY.match(line):
            labels.append((match[1], match[2]))
        elif not _NO_SUMMARY.match(line):
            reason = f"line {number} is not understood: {line[:80]!r}"
            problems.append(Problem(str(file), reason))
    return labels, problems


def _utterance(match: re.Match, emotion: str, path: pathlib.Path) -> Utterance:
    turn, kind = match[0], match[1]
    dialogue, _, last = turn.rpartition("_")
    session = turn[: len("Ses01")]
    return Utterance(
        id=turn,
        path=path,
        emotion=emotion,
        speaker=session + last[0],
        session=session,
        dialogue=dialogue,
        kind=kind,
    )


def count_differences(turns: Iterable[tuple[str, str, float]]) -> list[str]:
    """Compares a corpus with the published counts of IEMOCAP.

    Args:
      turns: (kind, emotion, seconds) of every turn.

    Returns:
      One sentence for each count that differs, with both numbers.
    """
    turns = list(turns)
    found = Counter(emotion for _, emotion, _ in turns)
    differences = [
        f"{emotion}: {found[emotion]} turns, published {published}"
        for emotion, published in TURNS.items()
        if found[emotion] != published
    ]
    for column, shortest in enumerate((0.0, 1.8, 2.0)):
        found = Counter(turn[:2] for turn in turns if turn[2] >= shortest)
        differences += [
            f"{kind} {emotion} of at least {shortest} s: "
            f"{found[kind, emotion]} turns, published {published[column]}"
            for (kind, emotion), published in TURNS_BY_LENGTH.items()
            if found[kind, emotion] != published[column]
        ]
    return differences
