"""The trained model that comes with the package."""

import pathlib
from collections.abc import Mapping
from typing import Any

FOLDER = pathlib.Path(__file__).parent / "weights_emodb"


def sentence(description: Mapping[str, Any]) -> str:
    """What it was trained on, and how well it does on unseen speakers.

    Args:
      description: What its model.json holds.
    """
    from glam_jax import card, held_out  # importing them takes a quarter of a second

    return (
        f"model: {description['model']}, which comes with glam_jax, trained on EmoDB "
        "(ten German actors); on speakers that were not heard "
        f"{held_out.figures(description['held_out'])}; {FOLDER / card.CARD}"
    )
