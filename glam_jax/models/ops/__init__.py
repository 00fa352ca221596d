"""How layers are computed fast on each platform, and the one place that decides it.

`linear` and `normalization` hold the layers in plain Flax. Two modules below them hold
another form of what takes the time: `lanes` for runs side by side on a TPU, `cpu` for
products on a CPU.
"""

import jax
import jax.numpy as jnp

from glam_jax import mapped


def in_lanes() -> bool:
    """Whether runs are laid side by side as channels: a TPU trains or evaluates them.

    Only first derivatives, in reverse, and `jax.vmap` over runs work then.
    """
    return mapped.platform() == "tpu"


def on_cpu() -> bool:
    """Whether products are computed as is fast on a CPU."""
    return (mapped.platform() or jax.default_backend()) == "cpu"


def widened(x: jax.Array) -> jax.Array:
    """x in float32, or as it is where that is as precise."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
