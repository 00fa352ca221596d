"""The models by name; `create_model` builds one."""

from flax import linen as nn

from glam_jax.models import baselines, glam

MODELS = {
    "glam": glam.GLAM,
    "glam5": glam.GLAM5,
    "glam_single_scale": glam.GLAMSingleScale,
    "glam_no_residual": glam.GLAMNoResidual,
    "multiscale": glam.MultiScale,
    "multiscale_mha": glam.MultiScaleMHA,
    "multiscale_aa": glam.MultiScaleAA,
    "apcnn": baselines.APCNN,
    "mhcnn": baselines.MHCNN,
    "aacnn": baselines.AACNN,
}


def create_model(name: str, num_classes: int = 4, **overrides) -> nn.Module:
    """Builds a model, called as `model.apply(variables, x, train=bool)`.

    The models with area attention draw dropout in training, from `rngs={"dropout":
    key}`.

    Args:
      name: a name in `MODELS`.
      num_classes: emotions told apart.
      **overrides: fields of the module, such as `batch_axis`.

    Returns:
      A module from x, (batch, frequency, time), to float32 logits, (batch,
      num_classes). It computes in the precision of x, float32 or bfloat16, and refuses
      segments too small for its pooling.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name](num_classes=num_classes, **overrides)
