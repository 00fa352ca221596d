"""The models by name; `create_model` builds one."""

from flax import linen as nn

from glam_jax.models import glam

MODELS = {
    "glam": glam.GLAM,
}


def create_model(name: str, num_classes: int = 4, **overrides) -> nn.Module:
    """Builds a model, called as `model.apply(variables, x, train=bool)`.

    Args:
      name: a name in `MODELS`.
      num_classes: emotions told apart.
      **overrides: fields of the module, such as `batch_axis`.

    Returns:
      A module from x, (batch, frequency, time) float32, to logits, (batch,
      num_classes).

    Raises:
      ValueError: for an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name](num_classes=num_classes, **overrides)
