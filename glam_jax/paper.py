"""The figures that the paper publishes, in percent."""

from collections.abc import Sequence
from typing import NamedTuple

from glam_jax import models


class Figure(NamedTuple):
    """A published mean, and the standard deviation over seeds where there is one."""

    mean: float
    sd: float | None = None


# The paper's parts of IEMOCAP, by the TFDS splits that hold them.
_SUBSETS: dict[tuple[str, ...], str] = {
    ("impro",): "impro",
    ("script",): "script",
    ("impro", "script"): "full",
}

# GLAM with a mixup alpha, on improvised speech.
_ALPHAS = {
    "0": "80.44 78.88",
    "0.3": "81.15 79.26",
    "0.5": "81.18 79.25",
    "0.8": "80.97 78.97",
    "1": "80.96 79.19",
    "2": "80.80 79.18",
    "3": "80.61 78.95",
}


def subset(corpus: str, tfds_splits: Sequence[str]) -> str:
    """The paper's word for what was trained on: impro, script, full; '' for other data.

    Args:
      corpus: The corpus.
      tfds_splits: The parts of it that were used.
    """
    return _SUBSETS.get(tuple(tfds_splits), "") if corpus == "iemocap" else ""


def figures(table: str, subset: str, row: str) -> Sequence[Figure]:
    """What the paper publishes for a row of one of its tables, () for nothing.

    Args:
      table: The name of the table.
      subset: The subset of IEMOCAP: impro, script or full.
      row: The row's name: a model, or a value of alpha.

    Returns:
      WA, UA and, where published, macro F1 and weighted F1.
    """
    text = ""
    if (table, subset) == ("alpha", "impro"):
        text = _ALPHAS.get(row, "")
    elif row in models.MODELS:
        text = models.MODELS[row].figures.get((table, subset), "")
    return tuple(Figure(*map(float, word.split("+-"))) for word in text.split())
