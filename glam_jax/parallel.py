"""The one module that knows devices: where runs and batches lie."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import joblib
import numpy as np
from jax import lax
from jax.experimental import multihost_utils

from glam_jax import mapped

AXIS = "batch"  # the mapped axis that a global batch is split over
RESIDENT_SHARE = 0.5  # of a device's memory, which `auto` gives to segments
USABLE_SHARE = 0.8  # of a device's memory, which runs and segments may take
MOST_CPU_DEVICES = 8
CGROUPS = pathlib.Path("/sys/fs/cgroup")
_PATIENCE = 10  # seconds until a file that another process made is there


def connect(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Joins the processes of one training; before anything else uses JAX.

    Args:
      coordinator: HOST:PORT of process 0, or 'auto' on a TPU pod or under SLURM, which
        tell the rest themselves; None for a training of this process alone.
      num_processes: Processes of the training.
      process_id: The number of this process, from 0.

    Raises:
      ValueError: When something is missing or does not fit, or nothing can be joined.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError(
                "--num_processes and --process_id need --coordinator=HOST:PORT, the "
                "address of process 0"
            )
        return
    address: str | None = coordinator
    if coordinator == "auto":
        address = num_processes = process_id = None
    else:
        if not re.fullmatch(r".+:\d+", coordinator):
            raise ValueError(
                f"--coordinator={coordinator} is neither HOST:PORT nor auto"
            )
        if num_processes is None or process_id is None or process_id >= num_processes:
            raise ValueError(
                "--coordinator=HOST:PORT needs --num_processes, and --process_id from "
                "0 to one less"
            )
    try:
        jax.distributed.initialize(address, num_processes, process_id)
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"cannot join the processes of --coordinator={coordinator} "
            f"({error!s:.200}). Start each of them alike, under SLURM by srun, or give "
            "HOST:PORT of process 0 with --num_processes and --process_id"
        ) from error


def check_devices() -> None:
    """Raises ValueError when JAX cannot use the devices that it is told to."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX finds no device ({str(error).strip() or 'it says no more'}). Unset "
            f"JAX_PLATFORMS={chosen}, or install what it needs: pip install -e .[cuda] "
            "or .[tpu]"
        ) from error


def use_cpu_cores(count: int | None = None) -> None:
    """Makes a device of each core, where there is no accelerator; before JAX is used.

    Two devices of one thread trained 23 % faster than one device of two threads, and
    inferred 38 % faster.

    Args:
      count: Devices to make; None for the cores, rounded down to a power of two so that
        batches can be split, and at most `MOST_CPU_DEVICES`, unless the user says it in
        JAX_NUM_CPU_DEVICES.
    """
    if count is None:
        if jax.config.values["jax_num_cpu_devices"] > 0:
            return
        count = 2 ** int(math.log2(min(joblib.cpu_count(), MOST_CPU_DEVICES)))
    jax.config.update("jax_num_cpu_devices", count)
    threads = f"--xla_cpu_multi_thread_eigen={str(count == 1).lower()}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {threads}".strip()


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder.

    JAX_COMPILATION_CACHE_DIR names another, JAX_ENABLE_COMPILATION_CACHE=0 keeps none;
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS is the user's, if given.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        try:
            folder = caches.expanduser() / "glam_jax" / "compiled"
        except RuntimeError:  # a user without a home
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def use_single_precision() -> None:
    """Switches JAX_ENABLE_X64 off, with a word: numbers here are 32 bits wide."""
    if jax.config.values["jax_enable_x64"]:
        print("JAX_ENABLE_X64 is switched off: glam_jax computes with 32 bits.")
        jax.config.update("jax_enable_x64", False)


def is_first_process() -> bool:
    """Whether this process writes files and speaks."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether a flag is set in any process; all must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def least(count: int) -> int:
    """The smallest of a number that each process has, up to 2**31 - 1; all must ask."""
    if jax.process_count() == 1:
        return count
    ours = np.array(min(count, np.iinfo(np.int32).max), np.int32)
    return int(multihost_utils.process_allgather(ours).min())


def wait_for_all(name: str) -> None:
    """Waits until all processes are at the same place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def check_shared(folder: pathlib.Path) -> None:
    """Raises ValueError when a folder is not one for all processes; all must ask."""
    if jax.process_count() == 1:
        return
    token = int(multihost_utils.broadcast_one_to_all(np.int32(time.time_ns() % 2**31)))
    path = folder / f".seen_by_all_{token}"
    if is_first_process():
        path.touch()
    wait_for_all("folder is marked")
    for _ in range(_PATIENCE):  # a network's file system may show it later
        if path.exists():
            break
        time.sleep(1)
    lost = any_process(not path.exists())
    if is_first_process():
        path.unlink()
    if lost:
        raise ValueError(
            f"{folder} is not the same folder for all processes: give a --workdir on a "
            "file system that they share"
        )


def check_same(numbers: Sequence[int]) -> None:
    """Raises ValueError when processes go on from different steps; all must ask."""
    if jax.process_count() == 1:
        return
    everyones = multihost_utils.process_allgather(np.array(numbers, np.int32))
    if (everyones != everyones[:1]).any():
        raise ValueError(
            f"the processes read different checkpoints (steps {everyones.tolist()}); "
            "start them again when all see the same files"
        )


def describe() -> str:
    """The devices in words."""
    kind = jax.devices()[0].device_kind
    processes = jax.process_count()
    of_processes = f" in {processes} processes" if processes > 1 else ""
    return f"{jax.device_count()} x {kind}{of_processes}"


@dataclasses.dataclass(frozen=True)
class Machine:
    """What there is to train on, as every process sees it.

    Attributes:
      processes: They train together; each has as many devices.
      devices_per_process: Devices of one process.
      memory: Bytes that the smallest device may use.
    """

    processes: int
    devices_per_process: int
    memory: int

    @property
    def devices(self) -> int:
        """Devices of all processes."""
        return self.processes * self.devices_per_process


def machine() -> Machine:
    """Asks all processes what they have; all must ask.

    Raises:
      ValueError: When the processes have different numbers of devices.
    """
    mine = np.array([jax.local_device_count(), _memory() // 2**20])  # int32, in MiB
    everyones = np.atleast_2d(multihost_utils.process_allgather(mine))
    counts, memories = everyones.reshape(-1, 2).T
    if len(set(counts)) > 1:
        raise ValueError(
            f"the processes have {', '.join(map(str, counts))} devices; each must have "
            "as many (CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES)"
        )
    return Machine(len(counts), int(counts[0]), int(memories.min()) * 2**20)


def _memory() -> int:
    """Bytes of memory that a device of this process may use."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    # CPU devices share the machine's.
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([pages, *_memory_limits()]) // 2 // jax.local_device_count()


def _memory_limits() -> list[int]:
    """Bytes that this process's control groups allow (containers, SLURM), if any do."""
    files = []
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root, name = CGROUPS, "memory.max"
            if controllers:  # of version 1
                root, name = CGROUPS / "memory", "memory.limit_in_bytes"
            if not controllers or "memory" in controllers.split(","):
                place = root / path.lstrip("/")
                above = [f for f in place.parents if f.is_relative_to(root)]
                files += [folder / name for folder in (place, *above)]
    found = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # "max" is none
            found.append(int(file.read_text()))
    return found


@dataclasses.dataclass(frozen=True)
class Plan:
    """How runs and segments are shared out.

    Attributes:
      splits_batches: Whether all devices share the batches of one run; if not, each
        trains runs of its own, which do not communicate.
      devices: Devices that each process uses.
      runs_per_device: Runs that a device trains at once.
      streams: Whether segments come from the records while they are used; if not, all
        of them lie in every device's memory.
    """

    splits_batches: bool
    devices: int
    runs_per_device: int
    streams: bool


def plan_layout(
    machine: Machine,
    *,
    num_runs: int,
    bytes_per_run: int,
    segment_bytes: int,
    splittable: bool = True,
    mode: str = "auto",
    input_mode: str = "auto",
    runs_per_group: int = 0,
) -> Plan:
    """Shares runs and segments out over devices, by arithmetic alone.

    Args:
      machine: What there is to train on.
      num_runs: Runs to train.
      bytes_per_run: Memory that a run in training takes on a device.
      segment_bytes: Size of all segments.
      splittable: Whether the network gives the same when devices share a batch.
      mode: 'data' splits the batches of one run over the devices, 'runs' gives each
        device runs of its own, 'auto' the second when there are as many runs, or when
        the network cannot be split.
      input_mode: 'resident' or 'stream'; 'auto' streams segments that would take more
        than RESIDENT_SHARE of a device's memory.
      runs_per_group: Runs trained at once at most, on all devices; 0 for as many as
        memory holds. Each device has at least one.

    Raises:
      ValueError: When a network that cannot be split shall be.
    """
    too_large = segment_bytes > RESIDENT_SHARE * machine.memory
    streams = input_mode == "stream" or (input_mode == "auto" and too_large)
    if mode == "data" and not splittable and machine.devices > 1:
        raise ValueError(
            "this network cannot be split over devices (--config.parallel=data): it "
            "normalises by the batch or draws random numbers, and has no field "
            "batch_axis to do so over all devices. Train with --config.parallel=runs, "
            "or see 'What a network must be' in glam_jax/models/__init__.py"
        )
    few = num_runs < machine.devices
    if mode == "data" or (mode == "auto" and splittable and few):
        return Plan(True, machine.devices_per_process, 1, streams)
    devices = machine.devices_per_process
    if machine.processes == 1:
        devices = min(devices, num_runs)
    count = devices * machine.processes
    free = USABLE_SHARE * machine.memory - (0 if streams else segment_bytes)
    fitting = runs_per_group // count if runs_per_group else int(free / bytes_per_run)
    # Groups of about the same size: 100 runs as 50 + 50 rather than 64 + 36.
    groups = math.ceil(num_runs / (count * max(fitting, 1)))
    return Plan(False, devices, math.ceil(num_runs / (count * groups)), streams)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a group of runs is trained: slots on devices, each for a run or its part.

    Attributes:
      devices: Devices of this process, to map over.
      axis: AXIS when all devices of all processes share the batches of one run; None
        when each has runs of its own, which do not communicate.
      runs_per_device: Runs that a device trains at once.
    """

    devices: tuple[jax.Device, ...]
    axis: str | None
    runs_per_device: int

    @classmethod
    def of(cls, plan: Plan) -> "Layout":
        """The layout of a plan on this process's devices."""
        devices = tuple(jax.local_devices()[: plan.devices])
        return cls(devices, AXIS if plan.splits_batches else None, plan.runs_per_device)

    @property
    def num_devices(self) -> int:
        """Devices of all processes."""
        return len(self.devices) * jax.process_count()

    @property
    def group_size(self) -> int:
        """Runs trained at once, on all devices."""
        return 1 if self.axis else self.num_devices * self.runs_per_device

    @property
    def parts(self) -> int:
        """Parts that a run's batches are split into."""
        return self.num_devices if self.axis else 1

    @property
    def slots(self) -> list[tuple[int, int]]:
        """What this process trains, in its devices' order: (run of the group, part)."""
        count = len(self.devices) * self.runs_per_device
        mine = range(jax.process_index() * count, (jax.process_index() + 1) * count)
        return [(0, part) if self.axis else (part, 0) for part in mine]

    def map(
        self, function: Callable, shared: Sequence[bool], donate: Sequence[int] = ()
    ) -> Callable:
        """Maps a function of one run over the runs of a group.

        Args:
          function: It may use `mean` and `total` over `axis`.
          shared: For each argument, whether it is the same for all runs (see `share`)
            rather than each run's own (see `put` and `put_runs`).
          donate: The arguments whose memory the result may take.

        Returns:
          The mapped function, whose results lie on the devices, see `fetch`.
        """
        return jax.pmap(
            over_runs(function, shared, self.devices[0].platform),
            axis_name=AXIS,
            devices=self.devices if jax.process_count() == 1 else None,
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

    def put_runs(self, trees: Sequence[Any]) -> Any:
        """Puts a tree of arrays for each run of a group on the devices.

        Where there are fewer runs than slots, the last run fills them up.
        """
        return self.put([trees[min(run, len(trees) - 1)] for run, _ in self.slots])

    def put(self, trees: Sequence[Any]) -> Any:
        """Puts a tree of arrays for each of `slots` on the devices."""
        shape = (len(self.devices), self.runs_per_device)

        def stack(*leaves):
            return np.stack(leaves).reshape(shape + np.shape(leaves[0]))

        return jax.device_put(jax.tree.map(stack, *trees), self._sharding)

    @property
    def _sharding(self) -> jax.sharding.Sharding:
        """The sharding of arrays whose leading axis is the devices."""
        mesh = jax.sharding.Mesh(np.array(self.devices), (AXIS,))
        return jax.sharding.NamedSharding(mesh, jax.P(AXIS))

    def fetch(self, tree: Any) -> Any:
        """Brings a group's trees back as numpy arrays with a leading axis of runs.

        All processes must ask, and each gets all runs.
        """
        if self.axis:  # every device holds the same
            return jax.tree.map(
                lambda x: np.asarray(x.addressable_shards[0].data[0]), tree
            )
        tree = jax.tree.map(np.asarray, tree)
        if jax.process_count() > 1:
            tree = multihost_utils.process_allgather(tree)
        leading = 2 if jax.process_count() == 1 else 3  # processes, devices, runs
        return jax.tree.map(
            lambda x: x.reshape(self.group_size, *x.shape[leading:]), tree
        )


def check_divisible(batch_size: int, layout: Layout) -> None:
    """Raises ValueError when a batch cannot be split evenly over the devices."""
    count = layout.num_devices
    if layout.axis and batch_size % count:
        raise ValueError(
            f"batch_size {batch_size} cannot be split over {count} devices; set "
            f"--config.batch_size to a multiple of {count}, train runs beside each "
            "other (--config.parallel=runs), or hide devices (CUDA_VISIBLE_DEVICES, "
            "JAX_NUM_CPU_DEVICES)"
        )


def over_runs(function: Callable, shared: Sequence[bool], platform: str) -> Callable:
    """Maps over the leading axis of one device's runs.

    On a CPU in turn: vmap turns convolutions into grouped ones, which took 3.7 s for a
    run's step there instead of 0.2 s. Elsewhere all at once. Our layers, which look at
    `mapped.platform`, take the form that is fast on the platform.
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
        over = in_turn
    else:
        over = jax.vmap(function, in_axes=[None if same else 0 for same in shared])

    def over_runs(*arguments):
        with mapped.for_platform(platform):
            return over(*arguments)

    return over_runs
