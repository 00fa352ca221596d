"""How layers are computed fast on each platform; what is decided here, in one place.

`linear` and `normalization` hold the layers in plain Flax. Below them lie two forms of
what takes the time: `cpu`, and `lanes` for runs beside each other on a TPU. Elsewhere,
and for all that is not in these, JAX's own operations are used.
"""

import jax

# What is traced for one platform is not reused for another: jit knows such a context.
_platform = jax.make_user_context(None)


def traced_for(platform: str):
    """A context in which the layers are traced for the runs that a device trains."""
    return _platform(platform)


def in_lanes() -> bool:
    """Whether runs will be laid side by side as channels: within `traced_for("tpu")`.

    Only `jax.vmap` over runs, and one gradient, work then.
    """
    return _platform.value == "tpu"


def on_cpu() -> bool:
    """Whether to compute as is fast on a CPU; outside of `traced_for`, on JAX's own."""
    return (_platform.value or jax.default_backend()) == "cpu"
