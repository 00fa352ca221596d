"""What stands on both sides of splits: speakers, dialogues, texts, recordings."""

from collections.abc import Sequence

import numpy as np

from glam_jax.splits import Groups, Split, shared

NAMES = {
    "speaker": "speakers",
    "session": "sessions",
    "dialogue": "dialogues",
    "text": "texts",
    "content": "recordings",
}


def measure(splits: Sequence[Split], groups: Groups) -> dict[str, dict[str, float]]:
    """Counts what is both tested and learned from, as means over splits.

    Args:
      splits: of the runs.
      groups: of all utterances.

    Returns:
      For each kind of group that the corpus has: {'shared': of the tested ones those
      also in training or validation, 'tested': all tested ones}, and 'unnamed' where
      utterances that train name none.
    """
    found = [shared(split, groups) for split in splits]
    both_sides = {}
    for what in NAMES:
        values = getattr(groups, what)
        if (values == "").all():
            continue
        tested = [len(set(values[split.test]) - {""}) for split in splits]
        both_sides[what] = {
            "shared": float(np.mean([len(of_split[what]) for of_split in found])),
            "tested": float(np.mean(tested)),
        }
        unnamed = [(values[split.train] == "").sum() for split in splits]
        if any(unnamed):
            both_sides[what]["unnamed"] = float(np.mean(unnamed))
    return both_sides


def heard(both_sides: dict[str, dict[str, float]]) -> bool | None:
    """Whether speakers who are tested were trained on; None where it is not known.

    Args:
      both_sides: What `measure` gave.
    """
    speakers = both_sides.get("speaker", {})
    if speakers.get("shared"):
        return True
    return False if speakers.get("tested") and not speakers.get("unnamed") else None


def describe(both_sides: dict[str, dict[str, float]]) -> str:
    """One line: 'on both sides: 10 of 10 speakers, ...', of what is tested."""
    if not both_sides:
        return "on both sides: nobody knows"
    counts = [
        f"{count['shared']:.4g} of {count['tested']:.4g} {NAMES[what]}"
        for what, count in both_sides.items()
    ]
    return "on both sides: " + ", ".join(counts)
