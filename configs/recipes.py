"""How each model was trained in the paper's reference implementation."""

import ml_collections

from glam_jax import models


def apply(config: ml_collections.ConfigDict, options: str) -> None:
    """Changes a config with GLAM's recipe to another model or recipe.

    Args:
      config: is changed.
      options: model=NAME,recipe=NAME, each optional; a recipe is named by the model
        that it was published with, and is the model's own by default.

    Raises:
      ValueError: for another option, model or recipe.
    """
    chosen = {"model": config.model}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in ("model", "recipe"):
            raise ValueError(f"no option {option!r}; there are model=NAME, recipe=NAME")
        models.row(value)
        chosen[key] = value
    config.model = chosen["model"]
    config.update(models.row(chosen.get("recipe", config.model)).recipe)
