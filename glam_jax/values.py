"""Which values the fields of a config may have; checking them takes no JAX."""

import difflib
import math
import operator

import ml_collections

from data_prep import features, paths
from glam_jax import models, prepared, splits
from glam_jax.splits import labels

NAMES = {
    "optimizer": ("adam", "adamw", "sgd"),
    "frontend": ("", *features.IN_JAX[:-1]),
    "short": features.SHORT,
    "normalise": ("none", "training", "speaker"),
    "schedule": ("exp", "step", "cosine"),
    "dtype": ("float32", "bfloat16"),
    "parallel": ("auto", "data", "runs"),
    "input": ("auto", "resident", "stream"),
    "protocol": tuple(splits.PROTOCOLS),
    "pad_mode": features.PAD_MODES,
}
# (smallest, largest) of what is whole; an int32 counts steps and seeds.
_MOST = 2**31 - 1
WHOLE = {
    "batch_size": (1, _MOST),
    "num_epochs": (1, _MOST),
    "checkpoint_every": (1, _MOST),
    "decay_epochs": (1, _MOST),
    "segment": (1, _MOST),
    "hop": (1, _MOST),
    "test_hop": (1, _MOST),
    "num_folds": (2, _MOST),
    "num_runs": (0, 100_000),
    "seed": (0, 2**31 - 100_001),  # run k has seed + k
    "warmup_epochs": (0, _MOST),
    "runs_per_group": (0, _MOST),
    "input_workers": (0, 1024),
    "augment.masks": (0, 100),
}
# What a number must be, in words and as a test; NaN is never.
NUMBERS = {
    "learning_rate": ("above 0", lambda x: x > 0),
    "learning_rate_decay": ("above 0, and at most 1", lambda x: 0 < x <= 1),
    "momentum": ("from 0 to below 1", lambda x: 0 <= x < 1),
    "weight_decay": ("at least 0", lambda x: x >= 0),
    "mixup_alpha": ("at least 0", lambda x: x >= 0),
    "ema": ("from 0 to below 1", lambda x: 0 <= x < 1),
    "label_smoothing": ("from 0 to below 1", lambda x: 0 <= x < 1),
    "augment.speed": ("from 0 to 0.5", lambda x: 0 <= x <= 0.5),
    "augment.warp": ("from 0 to 0.5", lambda x: 0 <= x <= 0.5),
    "augment.gain": ("at least 0", lambda x: x >= 0),
    "augment.noise": ("from 0 to 1", lambda x: 0 <= x <= 1),
}

# Fields of a config that say where and how, and do not change the numbers.
WITHOUT_EFFECT = (
    "data_dir",
    "parallel",
    "runs_per_group",
    "input",
    "input_workers",
)


def check(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for a value that no training can have, by its field.

    Features of one's own are imported; a network of one's own is later, for that takes
    seconds. What the config leaves to the prepared data is filled in, see
    `prepared.complete`.
    """
    _check_fields(config)
    for field, (smallest, largest) in WHOLE.items():
        value = operator.attrgetter(field)(config)
        if not smallest <= value <= largest:
            raise ValueError(
                f"config.{field} must be from {smallest} to {largest}, not {value}"
            )
    for field, (words, holds) in NUMBERS.items():
        value = operator.attrgetter(field)(config)
        if not (math.isfinite(value) and holds(value)):
            raise ValueError(f"config.{field} must be {words}, not {value}")
    for field in ("data_dir", "split_file"):
        paths.local(config[field], f"config.{field}")
    prepared.check_corpus(config)
    features.check_kind(config["features"])
    if config.model != models.FLOOR:
        models.row(config.model)
    prepared.complete(config)
    for field, names in NAMES.items():
        if config[field] not in names:
            near = difflib.get_close_matches(str(config[field]), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"unknown config.{field} {config[field]!r}{hint} (there are "
                f"{', '.join(names)})"
            )
    _check_inputs(config)
    labels.label_set(config)


def _check_fields(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for a field that nothing reads: a config file can add any."""
    from configs import base

    known = base.get_config()
    for prefix in ("", "label_sets.", "augment."):
        ours, theirs = config, known
        if prefix:
            ours, theirs = config[prefix[:-1]], known[prefix[:-1]]
        for field in sorted(set(ours) - set(theirs)):
            near = difflib.get_close_matches(field, theirs, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ValueError(f"there is no field config.{prefix}{field}{hint}")


def _check_inputs(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for what cannot be done to the features that are read."""
    of_waves = config["features"] == "waveform"
    needs = ("frontend", "augment.speed", "augment.gain", "augment.noise", "short")
    for field in needs:
        value = operator.attrgetter(field)(config)
        if value and value != "repeat" and not of_waves:
            raise ValueError(
                f"config.{field}={value} needs waveforms: --config.features=waveform "
                f"instead of {config['features']}"
            )
    if config.normalise == "speaker" and of_waves:
        raise ValueError(
            "config.normalise=speaker is done to features that are read from records: "
            f"--config.features={config.frontend or 'mfcc'} --config.frontend= instead "
            "of waveform, without augment.speed, .gain and .noise"
        )
    if config.augment.warp and "mel" not in (config.frontend or config["features"]):
        raise ValueError(
            f"config.augment.warp={config.augment.warp} stretches a mel axis: it needs "
            "--config.frontend=logmel or other features with mel in their name, not "
            f"{config.frontend or config['features']}"
        )
