"""Protocols: which utterances train, validate and test, and which epoch counts."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from data_prep import records


@dataclasses.dataclass(frozen=True)
class Groups:
    """What each utterance belongs to, as (utterances,) arrays of str; '' is nothing.

    Attributes:
      speaker: who speaks.
      session: the recording session.
      dialogue: the conversation.
      text: the sentence, where the corpus has fixed ones.
      content: a digest of the samples: equal for identical recordings.
      part: train, validation or test in the corpus's own split; it is no group that
        can stand on both sides.
    """

    speaker: np.ndarray
    session: np.ndarray
    dialogue: np.ndarray
    text: np.ndarray
    content: np.ndarray
    part: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, str))


GROUPS = tuple(f.name for f in dataclasses.fields(Groups) if f.name != "part")


@dataclasses.dataclass(frozen=True)
class Split:
    """Sorted utterance indices of one run."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Impossible(ValueError):
    """The data lack what a protocol needs."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a corpus is split and how a run is read.

    Attributes:
      label_set: Which of the config's label sets it uses.
      keeps_short: Whether utterances shorter than one segment count.
      selection: The epoch reported: the best on 'test', the best on 'validation' (the
        last where no utterance validates), or the 'last'.
      folds: From (groups, num_folds) to the test utterances of each fold, by what the
        fold leaves out; to {} for a random split. Raises `Impossible` with what it
        needs and what the data have.
      split: From (groups, seed, test utterances of the fold or None) to a split.
      never_shared: The fields of `Groups` whose values may not stand on both sides.
      holds_out: Whether what is tested does not train.
    """

    label_set: str
    keeps_short: bool
    selection: str
    folds: Callable[[Groups, int], dict[str, np.ndarray]]
    split: Callable[[Groups, int, Any], Split]
    never_shared: tuple[str, ...] = ()
    holds_out: bool = True


def no_folds(groups: Groups, num_folds: int) -> dict[str, np.ndarray]:
    """Every run draws its own split."""
    return {}


def leave_each_out(groups: Groups, num_folds: int, what: str) -> dict[str, np.ndarray]:
    """A fold for each session, each speaker, ...

    Args:
      groups: The groups of all utterances.
      num_folds: It has no effect: there are as many folds as values.
      what: The field of `Groups` of which a fold leaves one value out.
    """
    values = getattr(groups, what)
    found = sorted(set(values) - {""})
    if len(found) < 2:
        raise Impossible(f"needs 2 {what}s, but the data have {len(found)}")
    return {value: np.flatnonzero(values == value) for value in found}


def deal_speakers(groups: Groups, num_folds: int) -> dict[str, np.ndarray]:
    """Folds of about as many utterances each, see `records.kept_together`."""
    rows = zip(groups.speaker.tolist(), groups.session.tolist(), strict=True)
    values = np.array(records.kept_together([*rows]))
    found = len(set(values) - {""})
    if found < num_folds:
        raise Impossible(
            f"needs {num_folds} groups of speakers (config.num_folds), but the data "
            f"have {found}"
        )
    from sklearn import model_selection  # importing it takes a second

    (known,) = np.nonzero(values != "")  # of whom nobody knows, it always trains
    dealt = model_selection.GroupKFold(num_folds).split(known, groups=values[known])
    return {f"fold{k}": known[test] for k, (_, test) in enumerate(dealt)}


def own_fold(groups: Groups, num_folds: int) -> dict[str, np.ndarray]:
    """The test utterances of the corpus's own split.

    Args:
      groups: The groups of all utterances.
      num_folds: It has no effect.
    """
    if missing := [part for part in ("train", "test") if part not in groups.part]:
        raise Impossible(
            "needs a table with a split column, but no utterance that is used has "
            f"{' or '.join(missing)} there"
        )
    return {"table": np.flatnonzero(groups.part == "test")}


def own_split(groups: Groups, seed: int, test: np.ndarray) -> Split:
    """The corpus's own split; what it leaves empty is not used."""
    train, validation = (
        np.flatnonzero(groups.part == part) for part in ("train", "validation")
    )
    return Split(train, validation, test)


def train_on_all(groups: Groups, seed: int, test: np.ndarray | None) -> Split:
    """All utterances train, and the same ones are measured."""
    everyone = np.arange(len(groups.speaker))
    return Split(everyone, everyone[:0], everyone)


def draw_test(groups: Groups, seed: int, test: np.ndarray | None) -> Split:
    """A random 80/20, drawn with the seed as the reference does."""
    train, drawn, _ = _draw(groups, seed)
    return Split(train, drawn[:0], drawn)


def draw_validation_and_test(
    groups: Groups, seed: int, test: np.ndarray | None
) -> Split:
    """The same, and half of what does not train validates: 8:1:1."""
    train, drawn, random = _draw(groups, seed)
    validation, drawn = np.split(random.permutation(drawn), [len(drawn) // 2])
    return Split(train, validation, drawn)


def _draw(
    groups: Groups, seed: int
) -> tuple[np.ndarray, np.ndarray, np.random.RandomState]:
    random = np.random.RandomState(seed)
    everyone = np.arange(len(groups.speaker))
    train = random.choice(everyone, int(0.8 * len(everyone)), replace=False)
    return train, np.setdiff1d(everyone, train), random


def hold_out(groups: Groups, seed: int, test: np.ndarray) -> Split:
    """Trains on all but the fold, and but those who talk with a speaker of the fold.

    An utterance that shares a dialogue with a held-out speaker neither trains nor
    tests: the partner hears, answers and was recorded with them.
    """
    everyone = np.arange(len(groups.speaker))
    shared = np.isin(groups.dialogue, groups.dialogue[test])
    train = everyone[~shared | (groups.dialogue == "")]
    return Split(np.setdiff1d(train, test), everyone[:0], test)


def _leave_out(
    folds: Callable[[Groups, int], dict[str, np.ndarray]], *never_shared: str
) -> Protocol:
    return Protocol(
        "speaker_independent",
        keeps_short=True,
        selection="last",
        folds=folds,
        split=hold_out,
        never_shared=never_shared,
    )


PROTOCOLS = {
    # The paper's: speakers on both sides, the epoch chosen on the test fold.
    "paper": Protocol("paper", False, "test", no_folds, draw_test),
    "paper_811": Protocol(
        "paper", False, "validation", no_folds, draw_validation_and_test
    ),
    "session": _leave_out(
        functools.partial(leave_each_out, what="session"),
        *("session", "speaker", "dialogue"),
    ),
    "speaker": _leave_out(
        functools.partial(leave_each_out, what="speaker"), "speaker", "dialogue"
    ),
    "speaker_folds": _leave_out(deal_speakers, "speaker", "dialogue"),
    "text": _leave_out(functools.partial(leave_each_out, what="text"), "text"),
    "table": Protocol("speaker_independent", True, "validation", own_fold, own_split),
    # For a model that is used or tested elsewhere.
    "everything": Protocol(
        "speaker_independent", True, "last", no_folds, train_on_all, holds_out=False
    ),
}


def protocol(name: str) -> Protocol:
    """Looks a protocol up.

    Raises:
      ValueError: For an unknown name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def folds(name: str, groups: Groups, num_folds: int) -> dict[str, np.ndarray]:
    """The test utterances of each fold of a protocol, by what the fold leaves out.

    Args:
      name: The protocol.
      groups: The groups of all utterances.
      num_folds: How many folds `speaker_folds` has.

    Returns:
      {} for a random split.

    Raises:
      Impossible: When the data have too few sessions, speakers or texts for it; it
        names the protocols that they allow.
    """
    try:
        return protocol(name).folds(groups, num_folds)
    except Impossible as error:
        allowed = ", ".join(possible(groups, num_folds))
        raise Impossible(f"protocol {name!r} {error}; they allow {allowed}") from None


def possible(groups: Groups, num_folds: int) -> list[str]:
    """The protocols that the data allow; see `folds` for the arguments."""
    allowed = []
    for name in (name for name, row in PROTOCOLS.items() if row.holds_out):
        with contextlib.suppress(Impossible):
            PROTOCOLS[name].folds(groups, num_folds)
            allowed.append(name)
    return allowed


def split(
    name: str, groups: Groups, seed: int, test: np.ndarray | None = None
) -> Split:
    """Splits the utterances of one run.

    A recording that is identical to one held out does not train.

    Args:
      name: The protocol; one that holds nothing out gives all utterances twice.
      groups: The groups of all utterances, sorted by their ids.
      seed: The seed of the random draw.
      test: One of `folds(...)`, None for a random split.
    """
    drawn = protocol(name).split(groups, seed, test)
    if not protocol(name).holds_out:
        return drawn
    validation = _without_copies(drawn.validation, drawn.test, groups)
    held_out = np.concatenate([validation, drawn.test])
    train = _without_copies(drawn.train, held_out, groups)
    result = Split(np.sort(train), np.sort(validation), np.sort(drawn.test))
    check_independent(name, result, groups)
    return result


def _without_copies(
    utterances: np.ndarray, held_out: np.ndarray, groups: Groups
) -> np.ndarray:
    copied = np.isin(groups.content[utterances], groups.content[held_out])
    return utterances[~copied | (groups.content[utterances] == "")]


def shared(split: Split, groups: Groups) -> dict[str, list[str]]:
    """The speakers, sessions, ... both in the test and in what is learned from."""
    learned = np.concatenate([split.train, split.validation])
    return {
        name: sorted(set(values[learned]) & set(values[split.test]) - {""})
        for name in GROUPS
        for values in [getattr(groups, name)]
    }


def check_independent(name: str, split: Split, groups: Groups) -> None:
    """Refuses a split with something on both sides that the protocol keeps apart.

    Raises:
      Impossible: naming it.
    """
    both = shared(split, groups)
    found = [
        f"{what} {', '.join(both[what])}"
        for what in (*protocol(name).never_shared, "content")
        if both[what]
    ]
    content = groups.content
    copied = set(content[split.train]) & set(content[split.validation]) - {""}
    if copied:
        found.append(f"validation's content {', '.join(sorted(copied))}")
    if found:
        raise Impossible(
            f"protocol {name!r} refuses this split: both in training and in test are "
            + "; ".join(found)
        )
