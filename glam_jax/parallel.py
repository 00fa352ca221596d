"""The one module that knows devices: where runs and batches lie."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

AXIS = "batch"  # the mapped axis that a global batch is split over
MODES = ("auto", "data", "runs")


def describe() -> str:
    """The devices in words."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def memory() -> int:
    """Bytes of memory that a device may use."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    # CPU devices share the machine's.
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return pages // 2 // jax.local_device_count()


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a group of runs is trained.

    Attributes:
      devices: to map over.
      axis: AXIS when the devices share the batches of one run; None when each has runs
        of its own, which do not communicate.
      runs_per_device: trained by each device at once.
    """

    devices: tuple[jax.Device, ...]
    axis: str | None
    runs_per_device: int

    @property
    def group_size(self) -> int:
        """Runs trained at once, on all devices."""
        return 1 if self.axis else len(self.devices) * self.runs_per_device

    def map(
        self, function: Callable, shared: Sequence[bool], donate: Sequence[int] = ()
    ) -> Callable:
        """Maps a function of one run over the runs of a group.

        Args:
          function: with `axis`, `my_part`, `mean` and `total` may be used in it.
          shared: for each argument, whether it is the same for all runs (see `share`)
            rather than each run's own (see `place`).
          donate: the arguments whose memory the result may take.

        Returns:
          The mapped function, whose results lie on the devices, see `fetch`.
        """
        return jax.pmap(
            _over_runs(function, shared, self.devices[0].platform),
            axis_name=AXIS,
            devices=self.devices,
            donate_argnums=tuple(donate),
        )

    def share(self, tree: Any) -> Any:
        """Copies a tree of arrays to all devices."""
        count = len(self.devices)

        def copy(x):
            shape = (count, *np.shape(x))
            return jax.make_array_from_callback(
                shape, self._sharding, lambda _: np.asarray(x)[None]
            )

        return jax.tree.map(copy, tree)

    def place(self, trees: Sequence[Any]) -> Any:
        """Puts a tree of arrays for each run of a group on the devices.

        Where there are fewer runs than places, the last one fills up.
        """
        trees = [*trees, *[trees[-1]] * (self.group_size - len(trees))]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        if self.axis:
            return self.share(stacked)
        shape = (len(self.devices), self.runs_per_device)
        placed = jax.tree.map(lambda x: x.reshape(shape + x.shape[1:]), stacked)
        return jax.device_put(placed, self._sharding)

    @property
    def _sharding(self) -> jax.sharding.Sharding:
        """Of arrays whose leading axis is the devices."""
        mesh = jax.sharding.Mesh(np.array(self.devices), (AXIS,))
        return jax.sharding.NamedSharding(mesh, jax.P(AXIS))

    def fetch(self, tree: Any, run: int) -> Any:
        """Brings the tree of one run of a group back as numpy arrays."""
        device, place = divmod(run, self.runs_per_device)

        def of_run(x):
            (data,) = [
                shard.data
                for shard in x.addressable_shards
                if (shard.index[0].start or 0) == device
            ]
            return jax.device_get(data)[0, place]

        return jax.tree.map(of_run, tree)


def layout(mode: str, num_runs: int, runs_per_group: int) -> Layout:
    """Chooses a layout on all devices.

    Args:
      mode: 'data' splits the batches of one run over the devices, 'runs' gives each
        device runs of its own, 'auto' the second when there are as many.
      num_runs: to train.
      runs_per_group: trained at once at most; each device has at least one.
    """
    devices = tuple(jax.local_devices())
    if mode == "data" or (mode == "auto" and num_runs < len(devices)):
        return Layout(devices, AXIS, 1)
    devices = devices[:num_runs]
    # Groups of about the same size: 100 runs as 50 + 50 rather than 64 + 36.
    runs_per_device = max(runs_per_group // len(devices), 1)
    groups = math.ceil(num_runs / (len(devices) * runs_per_device))
    return Layout(devices, None, math.ceil(num_runs / (len(devices) * groups)))


def check_divisible(batch_size: int, layout: Layout) -> None:
    """Raises ValueError when a batch cannot be split evenly over the devices."""
    count = len(layout.devices)
    if layout.axis and batch_size % count:
        raise ValueError(
            f"batch_size {batch_size} cannot be split over {count} devices; set "
            f"--config.batch_size to a multiple of {count}, train runs beside each "
            "other (--config.parallel=runs), or hide devices (CUDA_VISIBLE_DEVICES)"
        )


def _over_runs(function: Callable, shared: Sequence[bool], platform: str) -> Callable:
    """Maps over the leading axis of one device's runs.

    On a CPU in turn: vmap turns convolutions into grouped ones, which took 3.7 s for a
    run's step there instead of 0.2 s. Elsewhere all at once.
    """

    def in_turn(*arguments):
        own = [x for x, same in zip(arguments, shared, strict=True) if not same]

        def one(own):
            own = iter(own)
            return function(
                *[
                    x if same else next(own)
                    for x, same in zip(arguments, shared, strict=True)
                ]
            )

        return lax.map(one, own)

    if platform == "cpu":
        return in_turn
    return jax.vmap(function, in_axes=[None if same else 0 for same in shared])


def my_part(batch: jax.Array, axis: str | None) -> jax.Array:
    """This device's part of a global batch, split along its first axis."""
    if axis is None:
        return batch
    return batch.reshape(lax.axis_size(axis), -1, *batch.shape[1:])[
        lax.axis_index(axis)
    ]


def mean(tree: Any, axis: str | None) -> Any:
    """Averages over the devices that share a batch."""
    return tree if axis is None else lax.pmean(tree, axis)


def total(tree: Any, axis: str | None) -> Any:
    """Sums over the devices that share a batch."""
    return tree if axis is None else lax.psum(tree, axis)
