"""GLAM (Zhu & Li, ICASSP 2022) in JAX and Flax: models, training, reports."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "Recognizer",
    "__version__",
    "create_model",
    "load",
    "train_and_evaluate",
]

if TYPE_CHECKING:
    from glam_jax.models import create_model
    from glam_jax.recognizer import Recognizer, load
    from glam_jax.train import train_and_evaluate

_MODULES = {
    "Recognizer": "recognizer",
    "create_model": "models",
    "load": "recognizer",
    "train_and_evaluate": "train",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is used: importing JAX takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
