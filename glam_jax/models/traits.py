"""What a network does and what it lacks, found by its shapes alone."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from glam_jax.models import inputs

BATCH_SIZE = 2  # of the trial


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a network does, as far as training must know.

    Attributes:
      has_batch_stats: Whether it keeps running averages, as BatchNorm does.
      draws_random_numbers: Whether it needs the random stream 'dropout' in training.
      has_embedding: Whether it sows an embedding.
      splittable: Whether a batch split over devices gives what one device gives.
    """

    has_batch_stats: bool
    draws_random_numbers: bool
    has_embedding: bool
    splittable: bool


def find(model: nn.Module, feature_shape: tuple[int, int], num_classes: int) -> Traits:
    """Tries a network on abstract segments, see `models.check`."""
    _check_signature(model)
    variables = _initialise(model, feature_shape)
    logits, sown = _apply(model, feature_shape, variables, train=False)
    _check_logits(model, logits, num_classes)
    draws = _draws(model, feature_shape, variables)
    streams = ["dropout"] if draws else []
    readings, _ = _apply(model, feature_shape, variables, True, streams)
    if len(getattr(readings, "shape", ())) == 3:
        readings = jax.ShapeDtypeStruct(readings.shape[1:], readings.dtype)
    _check_logits(model, readings, num_classes)
    embedding = sown.get("embedding", ())
    if embedding and (
        len(embedding[0].shape) != 2 or embedding[0].shape[0] != BATCH_SIZE
    ):
        raise ValueError(
            f"{_name(model)} sows an embedding of shape {embedding[0].shape} for a "
            f"batch of {BATCH_SIZE}, instead of (batch, features)"
        )
    has_batch_stats = bool(variables.get("batch_stats"))
    return Traits(
        has_batch_stats=has_batch_stats,
        draws_random_numbers=draws,
        has_embedding=bool(embedding),
        splittable=hasattr(_network(model), "batch_axis")
        or not (has_batch_stats or draws),
    )


def _network(model: nn.Module) -> nn.Module:
    """The network itself, without what is done to its segments."""
    return model.network if isinstance(model, inputs.WithInputs) else model


def _name(model: nn.Module) -> str:
    return type(_network(model)).__name__


def _check_signature(model: nn.Module) -> None:
    try:
        inspect.signature(type(model).__call__).bind(model, None, train=False)
    except TypeError as error:
        raise ValueError(
            f"{_name(model)} cannot be called as model(x, train=False): {error}"
        ) from error


def _initialise(model: nn.Module, feature_shape: tuple[int, int]) -> Any:
    """The shapes of its variables."""
    variables = _shapes(
        model,
        lambda x: model.init(jax.random.key(0), x, train=False),
        jax.ShapeDtypeStruct((1, *feature_shape), jnp.float32),
    )
    if not variables.get("params"):
        raise ValueError(f"{_name(model)} has no parameters to train")
    if others := sorted(variables.keys() - {"params", "batch_stats"}):
        raise ValueError(
            f"{_name(model)} keeps {', '.join(others)}; of the collections of "
            "variables, only params and batch_stats are trained and saved"
        )
    return variables


def _apply(
    model: nn.Module,
    feature_shape: tuple[int, int],
    variables: Any,
    train: bool,
    streams: Sequence[str] = (),
) -> tuple[Any, Any]:
    """The shapes of its logits, and of what it sows as intermediates."""

    def call(variables, x):
        logits, collected = model.apply(
            variables,
            x,
            train=train,
            mutable=["intermediates", *(["batch_stats"] if train else [])],
            rngs={stream: jax.random.key(0) for stream in streams},
        )
        return logits, collected.get("intermediates", {})

    x = jax.ShapeDtypeStruct((BATCH_SIZE, *feature_shape), jnp.float32)
    try:
        return _shapes(model, call, variables, x)
    except flax.errors.InvalidRngError as error:
        lacks = "from another random stream than 'dropout'"
        raise _Draws(
            f"{_name(model)} draws random numbers "
            + (lacks if streams else f"with train={train}")
        ) from error


class _Draws(ValueError):
    """Random numbers were asked for that are not there."""


def _draws(model: nn.Module, feature_shape: tuple[int, int], variables: Any) -> bool:
    try:
        _apply(model, feature_shape, variables, train=True)
    except _Draws:
        return True
    return False


def _shapes(model: nn.Module, function: Callable, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except (ValueError, flax.errors.InvalidRngError):
        raise
    except Exception as error:  # whatever a user's code can raise
        frequency, time = arguments[-1].shape[1:]
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{_name(model)} fails on segments of {frequency} x {time}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check_logits(model: nn.Module, logits: Any, num_classes: int) -> None:
    needed = (BATCH_SIZE, num_classes)
    if not hasattr(logits, "shape"):
        raise ValueError(
            f"{_name(model)} gives a {type(logits).__name__} instead of one array of "
            "logits"
        )
    if logits.shape != needed:
        raise ValueError(
            f"{_name(model)} gives logits of shape {logits.shape} for a batch of "
            f"{BATCH_SIZE} and {num_classes} classes, instead of {needed}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            f"{_name(model)} gives logits of {logits.dtype}, which is not a "
            "floating-point type"
        )
