"""Protocols: which utterances train, validate and test, and which epoch counts."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a corpus is split and how a run is read.

    Attributes:
      label_set: which of the config's label sets it uses.
      keeps_short: whether utterances shorter than one segment count.
      selection: the epoch reported: the best on 'test', the best on 'validation', or
        the 'last'.
      left_out: what a fold leaves out ('session' or 'speaker'), '' for a random split.
    """

    label_set: str
    keeps_short: bool
    selection: str
    left_out: str = ""


PROTOCOLS = {
    # The paper's: speakers on both sides, the epoch chosen on the test fold.
    "paper": Protocol("paper", keeps_short=False, selection="test"),
    "paper_811": Protocol("paper", keeps_short=False, selection="validation"),
    "session": Protocol(
        "speaker_independent", keeps_short=True, selection="last", left_out="session"
    ),
    "speaker": Protocol(
        "speaker_independent", keeps_short=True, selection="last", left_out="speaker"
    ),
}


@dataclasses.dataclass(frozen=True)
class Groups:
    """What each utterance belongs to, as (utterances,) arrays of str; '' is nothing."""

    speaker: np.ndarray
    session: np.ndarray
    dialogue: np.ndarray


@dataclasses.dataclass(frozen=True)
class Split:
    """Sorted utterance indices of one run."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def protocol(name: str) -> Protocol:
    """Looks a protocol up.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def folds(name: str, groups: Groups) -> list[str]:
    """The folds of a protocol: what each leaves out; [''] for a random split.

    Raises:
      ValueError: when the corpus has fewer than two sessions or speakers for it.
    """
    left_out = protocol(name).left_out
    if not left_out:
        return [""]
    found = sorted(set(getattr(groups, left_out)) - {""})
    if len(found) < 2:
        raise ValueError(
            f"protocol {name!r} leaves one {left_out} out, but this corpus has "
            f"{len(found)} {left_out}s; try --config.protocol=speaker (speaker-"
            "independent) or --config.protocol=paper"
        )
    return found


def split(name: str, groups: Groups, seed: int, fold: str) -> Split:
    """Splits the utterances of one run.

    Random protocols draw with `seed` as the reference does; the others leave `fold`
    out. An utterance that shares a dialogue with a held-out speaker neither trains nor
    tests: the partner hears, answers and was recorded with them.

    Args:
      name: a protocol.
      groups: of all utterances, sorted by their ids.
      seed: of the random draw.
      fold: one of `folds(name, groups)`.
    """
    count = len(groups.speaker)
    everyone = np.arange(count)
    left_out = protocol(name).left_out
    if left_out:
        test = np.flatnonzero(getattr(groups, left_out) == fold)
        shared = np.isin(groups.dialogue, groups.dialogue[test])
        shared &= groups.dialogue != ""
        train = np.setdiff1d(everyone[~shared], test)
        result = Split(train, everyone[:0], test)
        check_independent(result, groups)
        return result
    random = np.random.RandomState(seed)
    train = np.sort(random.choice(count, int(0.8 * count), replace=False))
    rest = np.setdiff1d(everyone, train)
    if protocol(name).selection != "validation":
        return Split(train, everyone[:0], rest)
    rest = random.permutation(rest)
    half = len(rest) // 2
    return Split(train, np.sort(rest[:half]), np.sort(rest[half:]))


def check_independent(split: Split, groups: Groups) -> None:
    """Refuses a split with a speaker or a dialogue on both sides.

    Raises:
      ValueError: naming them.
    """
    for what in ("speaker", "dialogue"):
        values = getattr(groups, what)
        both = set(values[split.train]) & set(values[split.test]) - {""}
        if both:
            raise ValueError(
                f"not speaker-independent: {what} {', '.join(sorted(both))} in both "
                "training and test"
            )
