"""Protocols: which utterances train, validate and test, and which epoch counts."""

import dataclasses

import numpy as np
from sklearn import model_selection


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a corpus is split and how a run is read.

    Attributes:
      label_set: which of the config's label sets it uses.
      keeps_short: whether utterances shorter than one segment count.
      selection: the epoch reported: the best on 'test', the best on 'validation', or
        the 'last'.
      left_out: the field of `Groups` of which a fold leaves one or several values out,
        '' for a random split.
      never_shared: the fields of `Groups` whose values may not stand on both sides.
    """

    label_set: str
    keeps_short: bool
    selection: str
    left_out: str = ""
    never_shared: tuple[str, ...] = ()


def _leave_out(what: str, *also: str) -> Protocol:
    return Protocol("speaker_independent", True, "last", what, (what, *also))


PROTOCOLS = {
    # The paper's: speakers on both sides, the epoch chosen on the test fold.
    "paper": Protocol("paper", keeps_short=False, selection="test"),
    "paper_811": Protocol("paper", keeps_short=False, selection="validation"),
    "session": _leave_out("session", "speaker", "dialogue"),
    "speaker": _leave_out("speaker", "dialogue"),
    "speaker_folds": _leave_out("speaker", "dialogue"),
    "text": _leave_out("text"),
}


@dataclasses.dataclass(frozen=True)
class Groups:
    """What each utterance belongs to, as (utterances,) arrays of str; '' is nothing.

    Attributes:
      speaker: who speaks.
      session: the recording session.
      dialogue: the conversation.
      text: the sentence, where the corpus has fixed ones.
      content: a digest of the samples: equal for identical recordings.
    """

    speaker: np.ndarray
    session: np.ndarray
    dialogue: np.ndarray
    text: np.ndarray
    content: np.ndarray


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


def folds(name: str, groups: Groups, num_folds: int) -> dict[str, np.ndarray]:
    """The test utterances of each fold of a protocol, by what the fold leaves out.

    Args:
      name: a protocol.
      groups: of all utterances.
      num_folds: of `speaker_folds`, which are of about as many utterances each and keep
        the speakers of a session together.

    Returns:
      {} for a random split.

    Raises:
      ValueError: when the corpus has too few sessions, speakers or texts for it.
    """
    left_out = protocol(name).left_out
    if not left_out:
        return {}
    values = getattr(groups, left_out)
    if name == "speaker_folds":  # partners stay together
        values = np.where(groups.session == "", values, groups.session)
    found = sorted(set(values) - {""})
    needed = num_folds if name == "speaker_folds" else 2
    if len(found) < needed:
        what = "groups of speakers" if name == "speaker_folds" else f"{left_out}s"
        raise ValueError(
            f"protocol {name!r} needs {needed} {what}, but this corpus has {len(found)}"
            f"; there are {', '.join(PROTOCOLS)}"
        )
    if name == "speaker_folds":
        dealt = model_selection.GroupKFold(num_folds).split(values, groups=values)
        return {f"fold{k}": test for k, (_, test) in enumerate(dealt)}
    return {value: np.flatnonzero(values == value) for value in found}


def split(
    name: str, groups: Groups, seed: int, test: np.ndarray | None = None
) -> Split:
    """Splits the utterances of one run.

    Random protocols draw with `seed` as the reference does; the others hold the fold
    `test` out. An utterance that shares a dialogue with a held-out speaker neither
    trains nor tests: the partner hears, answers and was recorded with them. Nor does a
    recording train that is identical to one held out.

    Args:
      name: a protocol.
      groups: of all utterances, sorted by their ids.
      seed: of the random draw.
      test: one of `folds(...)`, None for a random split.
    """
    everyone = np.arange(len(groups.speaker))
    validation = everyone[:0]
    if test is None:
        random = np.random.RandomState(seed)
        train = random.choice(everyone, int(0.8 * len(everyone)), replace=False)
        test = np.setdiff1d(everyone, train)
        if protocol(name).selection == "validation":
            validation, test = np.split(random.permutation(test), [len(test) // 2])
    else:
        shared = np.isin(groups.dialogue, groups.dialogue[test])
        train = everyone[~shared | (groups.dialogue == "")]
        train = np.setdiff1d(train, test)
    validation = _without_copies(validation, test, groups)
    train = _without_copies(train, np.concatenate([validation, test]), groups)
    result = Split(np.sort(train), np.sort(validation), np.sort(test))
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
        field.name: sorted(set(values[learned]) & set(values[split.test]) - {""})
        for field in dataclasses.fields(groups)
        for values in [getattr(groups, field.name)]
    }


def check_independent(name: str, split: Split, groups: Groups) -> None:
    """Refuses a split with something on both sides that the protocol keeps apart.

    Raises:
      ValueError: naming it.
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
        raise ValueError(
            f"protocol {name!r} refuses this split: both in training and in test are "
            + "; ".join(found)
        )
