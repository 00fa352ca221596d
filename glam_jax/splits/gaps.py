"""Classes that a run tests and never trains, or never tests."""

from collections.abc import Sequence

import numpy as np

from glam_jax.splits import Split


def find(
    splits: dict[str, Split], labels: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    """A sentence for each gap, with the runs that have it.

    Args:
      splits: The split of each run, by the run's name.
      labels: (utterances,) the classes of all utterances.
      class_names: The names of the classes, by label.
    """
    sentences = []
    for label, name in enumerate(class_names):
        trained, tested = (
            {
                run
                for run, split in splits.items()
                if (labels[part(split)] == label).any()
            }
            for part in (lambda split: split.train, lambda split: split.test)
        )
        for runs, what in (
            (tested - trained, "tested, but no utterance of it trains"),
            (splits.keys() - tested, "not tested"),
        ):
            if runs:
                listed = [run for run in splits if run in runs]
                shown = ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
                sentences.append(
                    f"class {name} is {what}, in {len(listed)} of "
                    f"{len(splits)} runs ({shown})"
                )
    return sentences
