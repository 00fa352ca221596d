"""The one module that knows devices: data-parallel functions over all local ones."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.jax_utils
import jax
from jax import lax

AXIS = "batch"  # the mapped axis that a global batch is split over


def devices() -> list[jax.Device]:
    """The devices of this process.

    Raises:
      ValueError: when there are other processes, which would train apart from this one.
    """
    if jax.process_count() > 1:
        raise ValueError(
            f"{jax.process_count()} processes: training runs on one host for now"
        )
    return jax.local_devices()


def describe() -> str:
    """The devices in words."""
    return f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"


def check_divisible(batch_size: int, num_devices: int) -> None:
    """Raises ValueError when a batch cannot be split evenly over the devices."""
    if batch_size % num_devices:
        raise ValueError(
            f"batch_size {batch_size} cannot be split over {num_devices} devices; "
            f"set --config.batch_size to a multiple of {num_devices}, or hide devices "
            "(CUDA_VISIBLE_DEVICES)"
        )


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies every array to all devices."""
    return flax.jax_utils.replicate(tree, devices)


def fetch(tree: Any) -> Any:
    """Brings a replicated tree back as numpy arrays."""
    return jax.tree.map(
        lambda array: jax.device_get(array.addressable_shards[0].data)[0], tree
    )


def data_parallel(
    function: Callable,
    devices: Sequence[jax.Device],
    replicated: Sequence[bool],
    donate: Sequence[int] = (),
) -> Callable:
    """Maps `function` over devices; inside, `my_part`, `mean` and `total` may be used.

    Args:
      function: of as many arguments as `replicated` is long.
      devices: to map over.
      replicated: for each argument, whether it lies on the devices already (see
        `replicate`) rather than on the host.
      donate: the arguments whose memory the result may take.

    Returns:
      The mapped function, whose results lie on the devices.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        devices=devices,
        in_axes=tuple(0 if is_replicated else None for is_replicated in replicated),
        donate_argnums=tuple(donate),
    )


def my_part(batch: jax.Array) -> jax.Array:
    """This device's part of a global batch, split along its first axis."""
    return batch.reshape(lax.axis_size(AXIS), -1, *batch.shape[1:])[
        lax.axis_index(AXIS)
    ]


def mean(tree: Any) -> Any:
    """Averages over the devices."""
    return lax.pmean(tree, AXIS)


def total(tree: Any) -> Any:
    """Sums over the devices."""
    return lax.psum(tree, AXIS)
