"""What a function knows of the map that it is computed in: the platform, the devices.

`parallel` makes the maps; the layers of a network and the training step ask here.
"""

from typing import Any

import jax
from jax import lax

# What is traced for one platform is not reused for another: jit knows such a context.
for_platform = jax.make_user_context(None)


def platform() -> str | None:
    """The platform that runs are mapped for, None outside of such a map."""
    return for_platform.value


def mean(tree: Any, axis: str | None) -> Any:
    """Averages over the devices that share a batch."""
    return tree if axis is None else lax.pmean(tree, axis)


def total(tree: Any, axis: str | None) -> Any:
    """Sums over the devices that share a batch."""
    return tree if axis is None else lax.psum(tree, axis)
