"""Which values the fields of a config may have; checking them takes no JAX."""

import difflib
import math

import ml_collections

from data_prep import features, paths
from glam_jax import models, prepared, splits
from glam_jax.splits import labels

NAMES = {
    "optimizer": ("adam", "sgd"),
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
}
# What a number must be, in words and as a test; NaN is never.
NUMBERS = {
    "learning_rate": ("above 0", lambda x: x > 0),
    "learning_rate_decay": ("above 0, and at most 1", lambda x: 0 < x <= 1),
    "momentum": ("from 0 to below 1", lambda x: 0 <= x < 1),
    "weight_decay": ("at least 0", lambda x: x >= 0),
    "mixup_alpha": ("at least 0", lambda x: x >= 0),
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

    A network or features of one's own are imported. What the config leaves to the
    prepared data is filled in, see `prepared.complete`.
    """
    for field, (smallest, largest) in WHOLE.items():
        if not smallest <= config[field] <= largest:
            raise ValueError(
                f"config.{field} must be from {smallest} to {largest}, not "
                f"{config[field]}"
            )
    for field, (words, holds) in NUMBERS.items():
        if not (math.isfinite(config[field]) and holds(config[field])):
            raise ValueError(f"config.{field} must be {words}, not {config[field]}")
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
    labels.label_set(config)
