"""The networks by name: a row of `MODELS` for each, and what a network must be.

A network of one's own is named 'package.module:Class' instead, which is imported from
the current folder. It is a `flax.linen.Module` with a field `num_classes`, called as
`model(x, train=bool)`: x is (batch, frequency, time), float32 or bfloat16, and logits
of (batch, num_classes) come back in a floating-point type. All else is optional:

- a field `batch_axis`: the name of the mapped axis that a batch is split over, or None.
  A network that has it promises that a batch split over several devices gives what one
  device gives, by statistics over the whole axis (`nn.BatchNorm(axis_name=...)`). One
  that lacks it, but normalises by the batch or draws random numbers, is not split.
- BatchNorm, in the collection `batch_stats`. No other collection is kept.
- dropout, from the random stream 'dropout'.
- several readings of a segment: with `train=True` logits of (readings, batch,
  num_classes) come back, each of which is trained as if it were alone.
- an embedding, (batch, features), for the t-SNE figure:
  `self.sow("intermediates", "embedding", x)`.

`check` finds before training what a network lacks.
"""

import dataclasses
import difflib
import functools
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_prep import names

if TYPE_CHECKING:
    from flax import linen as nn

    from glam_jax.models import inputs as inputs_lib
    from glam_jax.models import traits


@dataclasses.dataclass(frozen=True)
class Model:
    """A network, and what was published with it.

    Attributes:
      network: Its module in this package and its class, or a function that makes it; or
        'package.module:Class' of a network of one's own.
      recipe: The fields of a config in which its published recipe differs from GLAM's,
        which is configs/base.py itself.
      figures: WA, UA and, where published, macro F1 and weighted F1 in percent, as
        'mean+-sd', by the paper's table and IEMOCAP's subset.
    """

    network: str
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    figures: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)


FLOOR = "linear_svm"  # no network: a classifier of functionals, see glam_jax.linear
_LARGE_BATCH = {"batch_size": 128}
_TWO_SECONDS = {
    "segment": 32000,  # samples
    "hop": 16000,
    "test_hop": 6399,  # the reference's int((2.0 - 1.6) * 16000)
    "schedule": "step",
    "learning_rate_decay": 0.1,
    "mixup_alpha": 0.0,
}
_SPECTROGRAM = {
    "features": "spectrogram",
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 1e-4,
}
_PLUS = {
    "features": "waveform",
    "frontend": "mfcc_pitch",
    "short": "silence",
    "segment": 48000,
    "hop": 6400,
    "test_hop": 6400,
    "num_epochs": 12,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "ema": 0.99,
    "mixup_alpha": 0.0,
    "class_weights": True,
    "augment.speed": 0.1,
    "augment.noise": 0.5,
}
MODELS = {
    "glam": Model(
        "glam:GLAM",
        figures={
            ("main", "impro"): "81.18+-1.47 79.25+-1.88 79.87+-1.64 80.99+-1.50",
            ("main", "script"): "71.44+-2.05 70.39+-2.13 69.56+-2.13 70.91+-2.12",
            ("main", "full"): "73.70+-1.25 73.90+-1.31 73.51+-1.29 73.60+-1.27",
            ("split811", "impro"): "81.04+-2.65 75.89+-3.94 76.79+-3.78 80.78+-2.75",
            ("split811", "script"): "69.80+-3.16 70.63+-3.17 68.85+-3.40 69.30+-3.42",
            ("split811", "full"): "71.63+-2.12 72.56+-2.05 71.53+-2.16 71.42+-2.19",
            ("ablation", "impro"): "81.18+-1.47 79.25+-1.88",
        },
    ),
    "glam5": Model("glam:GLAM5"),
    "glam_single_scale": Model("glam:GLAMSingleScale"),
    "glam_no_residual": Model("glam:GLAMNoResidual"),
    "multiscale": Model(
        "glam:MultiScale", figures={("ablation", "impro"): "80.89+-1.43 78.85+-1.65"}
    ),
    "multiscale_mha": Model(
        "glam:MultiScaleMHA",
        _LARGE_BATCH,
        {("ablation", "impro"): "80.43+-1.53 78.92+-1.92"},
    ),
    "multiscale_aa": Model(
        "glam:MultiScaleAA",
        _LARGE_BATCH,
        {("ablation", "impro"): "80.61+-1.75 79.09+-1.75"},
    ),
    "mhcnn": Model(
        "baselines:MHCNN",
        _TWO_SECONDS,
        {
            ("main", "impro"): "76.09+-2.01 73.87+-2.31 74.27+-2.25 75.91+-2.05",
            ("main", "script"): "64.57+-2.12 63.42+-2.14 61.46+-2.50 63.36+-2.56",
            ("main", "full"): "69.80+-1.69 70.09+-1.74 69.65+-1.73 69.68+-1.71",
            ("split811", "impro"): "76.13 71.15",
            ("split811", "script"): "63.03 64.37",
            ("split811", "full"): "67.67 68.65",
        },
    ),
    "aacnn": Model(
        "baselines:AACNN",
        _TWO_SECONDS,  # its own is not known to us; it has MHCNN's trunk
        {
            ("main", "impro"): "78.47+-2.42 76.68+-3.29 76.69+-3.27 78.29+-2.58",
            ("main", "script"): "67.20+-4.78 65.94+-6.19 64.82+-7.63 66.55+-6.99",
            ("main", "full"): "70.94+-5.08 71.04+-4.84 70.59+-6.34 70.71+-6.44",
            ("split811", "impro"): "78.65 74.31",
            ("split811", "script"): "65.49 65.87",
            ("split811", "full"): "67.71 68.67",
        },
    ),
    "apcnn": Model(
        "baselines:APCNN",
        _TWO_SECONDS | _SPECTROGRAM,
        {
            ("main", "impro"): "70.73+-2.57 67.96+-2.66 68.26+-3.17 70.20+-3.00",
            ("main", "script"): "55.95+-2.93 54.86+-2.74 48.75+-3.71 51.15+-3.87",
            ("main", "full"): "62.53+-1.43 62.80+-1.53 61.89+-1.52 62.12+-1.50",
            ("split811", "impro"): "69.93 62.70",
            ("split811", "script"): "53.48 55.77",
            ("split811", "full"): "60.33 62.16",
        },
    ),
    # Not the paper's: for speakers that were not heard.
    "glam_plus": Model("plus:GLAMPlus", _PLUS),
}


def row(name: str) -> Model:
    """The row of a model; a network of one's own has GLAM's recipe and no figures.

    Raises:
      ValueError: When there is no such row, and it is not 'package.module:Class'.
    """
    if ":" in name:
        return Model(name)
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1)
        raise ValueError(
            f"no model {name!r}; "
            + (f"did you mean {nearest[0]}? There" if nearest else "there")
            + f" are {', '.join(MODELS)}, or package.module:Class for a network of "
            "your own"
        )
    return MODELS[name]


def create_model(
    name: str,
    num_classes: int = 4,
    inputs: "inputs_lib.Inputs | None" = None,
    **overrides: Any,
) -> "nn.Module":
    """Builds a network, called as `model.apply(variables, x, train=bool)`.

    Those with area attention, and `glam_plus`, draw dropout in training, from
    `rngs={"dropout": key}`.

    Args:
      name: A name in `MODELS`, or 'package.module:Class'.
      num_classes: The number of emotions told apart.
      inputs: What is done to segments before the network; None for nothing.
      **overrides: Other fields of the module, such as `batch_axis`, which a network
        that lacks it does not get.

    Returns:
      A module from x, (batch, frequency, time), to logits, (batch, num_classes);
      `glam_plus` in training to those of each reading, (2, batch, num_classes). Those
      in `MODELS` compute in the precision of x, float32 or bfloat16, give float32
      logits, and refuse segments too small for their pooling.

    Raises:
      ValueError: When there is no such network, or it is none; it says what is missing.
    """
    from flax import linen as nn

    path = row(name).network
    if name in MODELS:
        module, _, attribute = path.partition(":")
        make = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    else:
        make = names.load(path, what="model")
    kind = make.func if isinstance(make, functools.partial) else make
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"model {name!r} is not a flax.linen.Module")
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    if "num_classes" not in fields:
        raise ValueError(f"model {name!r} has no field num_classes (num_classes: int)")
    axis = overrides.get("batch_axis")
    if "batch_axis" not in fields:
        overrides.pop("batch_axis", None)
    try:
        network = make(num_classes=num_classes, **overrides)
    except TypeError as error:  # a field that it lacks, or one without a default
        raise ValueError(f"model {name!r} cannot be made: {error}") from error
    if inputs is None:
        return network
    from glam_jax.models import inputs as inputs_lib  # importing JAX takes seconds

    return inputs_lib.before(network, inputs, axis)


def check(
    model: "nn.Module", feature_shape: tuple[int, int], num_classes: int
) -> "traits.Traits":
    """Finds out, without computing anything, whether a network can be trained.

    Args:
      model: The network.
      feature_shape: (frequency, time) of a segment.
      num_classes: The number of emotions told apart.

    Raises:
      ValueError: When it cannot; one sentence says what it lacks. What the network
        itself says of segments too small for it is passed on.
    """
    from glam_jax.models import traits  # importing JAX takes seconds

    return traits.find(model, feature_shape, num_classes)
