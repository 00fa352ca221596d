"""What may help on speakers that were not heard, one thing at a time.

An ingredient is some fields of a config. It is added to a config that lacks it, and
taken away from one that has it, so that a table tells of any recipe what each does.
"""

import operator
from typing import Any

import ml_collections

from glam_jax import values

INGREDIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cosine": {"schedule": "cosine", "warmup_epochs": 1},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01},
    "ema": {"ema": 0.99},
    "label smoothing": {"label_smoothing": 0.1},
    "class weights": {"class_weights": True},
    "no mixup": {"mixup_alpha": 0.0},
    "normalise": {"normalise": "training"},
    "speaker": {"normalise": "speaker"},
    "log-mel": {"features": "logmel"},
    "pitch": {"features": "mfcc_pitch"},
    "silence": {"short": "silence"},
    "3 s": {"segment": 48000, "hop": 6400, "test_hop": 6400},
    "shift": {"augment.shift": True},
    "masks": {"normalise": "training", "augment.masks": 1},
    "speed": {"augment.speed": 0.1},
    "gain": {"augment.gain": 6.0},
    "noise": {"augment.noise": 0.5},
}
_OF_WAVES = {"short", "augment.speed", "augment.gain", "augment.noise"}


def fits(name: str, config: ml_collections.ConfigDict) -> bool:
    """Whether a config can have an ingredient.

    Of sound no speaker's mean is known, and what varies sound needs features that are
    computed from it in the training step.

    Args:
      name: A name in `INGREDIENTS`.
      config: The config.
    """
    fields = INGREDIENTS[name]
    if config["features"] == "waveform":
        return fields.get("normalise") != "speaker"
    in_step = config["features"] in values.NAMES["frontend"]
    in_step &= config.normalise != "speaker"
    return in_step or not _OF_WAVES & fields.keys()


def toggle(name: str, config: ml_collections.ConfigDict) -> str:
    """Adds an ingredient to a config that lacks it, or takes it away.

    Args:
      name: A name in `INGREDIENTS`.
      config: The config, which is changed. What is taken away gets GLAM's values.

    Returns:
      What a row of a table with it is called, such as 'ema' or 'no ema'.
    """
    from configs import base

    fields = INGREDIENTS[name]
    if fields and all(_value(config, field) == v for field, v in fields.items()):
        plain = base.get_config()
        alone = [other for other in INGREDIENTS.values() if other != fields]
        fields = {  # what is an ingredient by itself stays
            field: _value(plain, field)
            for field, value in fields.items()
            if {field: value} not in alone
        }
        name = name.removeprefix("no ") if name.startswith("no ") else f"no {name}"
    elif _OF_WAVES & fields.keys() and config["features"] != "waveform":
        config.frontend, config["features"] = config["features"], "waveform"
    for field, value in fields.items():
        if field == "features" and config.frontend:
            field = "frontend"
        config.update_from_flattened_dict({field: value})
    return name


def _value(config: ml_collections.ConfigDict, field: str) -> Any:
    """The value of a field; of features those that the network sees."""
    if field == "features" and config.frontend:
        field = "frontend"
    return operator.attrgetter(field)(config)
