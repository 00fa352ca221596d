"""What a training step costs on accelerators that are not there, by its compilers.

The step is compiled ahead of time for TPUs, or lowered for CUDA. Nothing runs.
"""

import dataclasses
import functools
import importlib.util
import os
import re
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental import topologies

from glam_jax import parallel, steps, values
from glam_jax.benchmark.rows import SHORT_NAMES, Row

SEGMENTS = 4096  # resident; a step gathers a few of them
SEGMENTS_PER_STEP = 32  # to which the metrics of a run and step are scaled
STEPS_PER_EPOCH = SEGMENTS // SEGMENTS_PER_STEP

# Collective operations as HLO and StableHLO write them.
COLLECTIVE = re.compile(
    r"\b(?:all[-_]reduce|all[-_]gather|all[-_]to[-_]all|reduce[-_]scatter"
    r"|collective[-_]permute)(?:-start)?\"?\("
)
# Custom calls that XLA resolves on CUDA by itself: JAX's random bits, annotations.
CUDA_CUSTOM_CALLS = {"cu_threefry2x32_ffi", "Sharding", "LayoutConstraint"}
HOST_CALLBACK = re.compile(r"\b\w+_callback\b")  # JAX's primitives


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peaks of a TPU chip.

    Attributes:
      flops: products and sums per second in bfloat16. Float32 has the same: by default
        XLA rounds the factors of a float32 product to bfloat16, one pass of the unit.
      bandwidth: bytes of its memory per second.
    """

    flops: float
    bandwidth: float


# https://cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e, each "System architecture".
CHIPS = {
    "v4": Chip(275e12, 1228e9),
    "v5e": Chip(197e12, 819e9),
    "v5p": Chip(459e12, 2765e9),
    "v6e": Chip(918e12, 1640e9),
}


def tpu_rows(
    config: ml_collections.ConfigDict,
    topology: str,
    feature_shape: tuple[int, int],
    num_classes: int = 4,
    runs: Sequence[int] = (1, 8),
    dtypes: Sequence[str] = values.NAMES["dtype"],
) -> list[Row]:
    """Compiles the training step for the chips of a TPU topology.

    One group of cases trains R runs beside each other on a chip, by vmap as
    `parallel.Layout` maps them; the other splits the batches of one run over all chips.
    jax.pmap, with which the product maps over chips, needs chips that are there; here
    jit of shard_map without replication checks takes its place, and each chip gets the
    same program.

    A batch that the chips cannot share evenly is taken as large as there are chips.
    Metrics of a run and step are scaled to 32 segments and, in the second group, summed
    over the chips but for the time, which they spend at once.

    Args:
      config: the recipe.
      topology: such as `v5e:2x2`.
      feature_shape: (frequency, time) of a segment.
      num_classes: emotions told apart.
      runs: on a chip, for each case of the first group.
      dtypes: of the cases.

    Returns:
      For each case `flops_per_run_step`, `bytes_per_run_step` (as XLA's cost analysis
      counts accessed bytes, with padding), `peak_memory_mb` of a chip, `collectives` in
      the program, and `roofline_ms_per_run_step`: the longer of the times that the
      chip's peaks allow for the products and for the bytes.

    Raises:
      ValueError: without libtpu, or for a topology that it does not know.
    """
    devices = _topology_devices(topology)
    chip = CHIPS[topology.partition(":")[0]]
    batch_size = config.batch_size
    if batch_size % len(devices):
        batch_size = len(devices)
    rows = []
    for dtype in dtypes:
        recipe = config.copy_and_resolve_references()
        recipe.dtype = dtype
        name = SHORT_NAMES[dtype]
        cases: list[tuple[str, list[jax.Device], str | None, int, int]] = [
            (f"{name},runs={count}", devices[:1], None, count, config.batch_size)
            for count in runs
        ]
        cases.append(
            (f"{name},devices={len(devices)}", devices, parallel.AXIS, 1, batch_size)
        )
        for case, used, axis, count, batch in cases:
            recipe.batch_size = batch
            mesh = jax.sharding.Mesh(np.array(used), (parallel.AXIS,))
            step, arguments = mapped_step(
                recipe, mesh, axis, count, "tpu", feature_shape, num_classes
            )
            metrics = _metrics(
                step.lower(*arguments).compile(),
                chip,
                len(used),
                run_steps=count * batch / SEGMENTS_PER_STEP,
            )
            rows += [
                Row(f"tpu:{topology}", config.model, case, metric, (value,), unit)
                for metric, value, unit in metrics
            ]
    return rows


def _topology_devices(topology: str) -> list[jax.Device]:
    examples = "for example v5e:2x2, v5e:16x16, v4:2x2x1, v5p:2x2x1 or v6e:2x2"
    generation = topology.partition(":")[0]
    if generation not in CHIPS:
        raise ValueError(f"no TPU topology {topology!r}; {examples}")
    if not has_libtpu():
        raise ValueError("compiling for a TPU needs libtpu: pip install -e .[bench]")
    # No TPU has to be asked for, and another process may compile at the same time.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # The two cores of a v4 or v5p chip work as one device, as they do by default there.
    two_cores = {"chip_config_name": "megacore"} if generation in ("v4", "v5p") else {}
    try:
        return topologies.get_topology_desc(topology, "tpu", **two_cores).devices
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"no TPU topology {topology!r}; {examples}") from error


def has_libtpu() -> bool:
    """Whether the compiler for TPUs is installed."""
    return importlib.util.find_spec("libtpu") is not None


def mapped_step(
    config: ml_collections.ConfigDict,
    mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh,
    axis: str | None,
    runs: int,
    platform: str,
    feature_shape: tuple[int, int],
    num_classes: int = 4,
) -> tuple[jax.stages.Wrapped, list]:
    """The step as `parallel.Layout` maps it over a mesh, and its arguments' shapes."""
    setup = steps.create_setup(config, num_classes, axis)
    step = functools.partial(steps.train_step, setup)
    over_runs = parallel.over_runs(step, (False, True, False, False), platform)

    def on_device(*arguments):
        result = over_runs(*jax.tree.map(lambda x: x[0], arguments))
        return jax.tree.map(lambda x: x[None], result)

    over_devices = jax.P(parallel.AXIS)
    mapped = jax.jit(
        jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=over_devices,
            out_specs=over_devices,
            check_vma=False,
        ),
        donate_argnums=0,
    )
    sharding = jax.sharding.NamedSharding(mesh, over_devices)
    batch = config.batch_size // (mesh.size if axis else 1)
    state, data, rows, window = _shapes(setup, feature_shape, num_classes, batch)

    def stacked(tree, *leading):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (*leading, *x.shape), x.dtype, sharding=sharding
            ),
            tree,
        )

    return mapped, [
        stacked(state, mesh.size, runs),
        stacked(data, mesh.size),
        stacked(rows, mesh.size, runs),
        stacked(window, mesh.size, runs),
    ]


def _shapes(
    setup: steps.Setup, feature_shape: tuple[int, int], num_classes: int, batch: int
) -> tuple:
    """What `steps.train_step` takes of one run on one device, as shapes."""

    def array(shape, dtype=np.int32):
        return jax.ShapeDtypeStruct(shape, dtype)

    state = jax.eval_shape(
        lambda: steps.create_state(setup, feature_shape, jnp.int32(0))
    )
    data = steps.Data(
        features=array((SEGMENTS, *feature_shape), np.float32),
        utterance=array((SEGMENTS,)),
        labels=array((SEGMENTS,)),
    )
    window = steps.Window(
        seed=array(()),
        class_weights=array((num_classes,), np.float32),
        mixing_weights=array((STEPS_PER_EPOCH,), np.float32),
        epoch_start=array(()),
        start=array(()),
        stop=array(()),
        steps_per_epoch=array(()),
    )
    return state, jax.eval_shape(steps.Data.tiled, data), array((2, batch)), window


def _metrics(
    compiled: jax.stages.Compiled, chip: Chip, chips: int, run_steps: float
) -> list[tuple[str, float, str]]:
    """(metric, value, unit) of a compiled step.

    Args:
      compiled: the program of each chip.
      chip: its kind.
      chips: that run the program.
      run_steps: of 32 segments, done by one call on all chips.
    """
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    text = compiled.as_text()
    assert cost and memory and text  # the compiler for TPUs gives them all
    flops, accessed = cost["flops"], cost["bytes accessed"]
    seconds = max(flops / chip.flops, accessed / chip.bandwidth)
    return [
        ("flops_per_run_step", flops * chips / run_steps, "FLOP"),
        ("bytes_per_run_step", accessed * chips / run_steps, "B"),
        ("peak_memory_mb", memory.peak_memory_in_bytes / 1e6, "MB"),
        ("collectives", len(COLLECTIVE.findall(text)), ""),
        ("roofline_ms_per_run_step", 1e3 * seconds / run_steps, "ms"),
    ]


def cuda_rows(
    config: ml_collections.ConfigDict,
    feature_shape: tuple[int, int],
    num_classes: int = 4,
    runs: int = 8,
    devices: int = 4,
    dtypes: Sequence[str] = values.NAMES["dtype"],
) -> list[Row]:
    """Lowers the training step for CUDA, and checks that all of it runs on the GPU.

    As `tpu_rows`, runs beside each other and one run on several devices. XLA compiles
    for a GPU only where there is one, so nothing is known of speed or memory.

    Returns:
      For each case the numbers of `collectives`, `custom_calls` and `host_callbacks`
      (none, or it would have raised).

    Raises:
      ValueError: with the names of calls that are not known to run on the GPU.
    """
    rows = []
    for dtype in dtypes:
        recipe = config.copy_and_resolve_references()
        recipe.dtype = dtype
        name = SHORT_NAMES[dtype]
        for case, count, size, axis in (
            (f"{name},runs={runs}", runs, 1, None),
            (f"{name},devices={devices}", 1, devices, parallel.AXIS),
        ):
            mesh = jax.sharding.AbstractMesh((size,), (parallel.AXIS,))
            step, arguments = mapped_step(
                recipe, mesh, axis, count, "cuda", feature_shape, num_classes
            )
            callbacks = HOST_CALLBACK.findall(str(step.trace(*arguments).jaxpr))
            _refuse(callbacks)  # JAX lowers none for a backend that is not there
            exported = jax.export.export(step, platforms=["cuda"])(*arguments)
            module = exported.mlir_module()
            custom_calls = re.findall(r"custom_call @([\w.]+)", module)
            _refuse(set(custom_calls) - CUDA_CUSTOM_CALLS)
            metrics = {
                "collectives": len(COLLECTIVE.findall(module)),
                "custom_calls": len(custom_calls),
                "host_callbacks": len(callbacks),
            }
            rows += [
                Row("cuda", config.model, case, metric, (float(value),), "")
                for metric, value in metrics.items()
            ]
    return rows


def _refuse(calls: Iterable[str]) -> None:
    if calls := sorted(set(calls)):
        raise ValueError(f"not known to run on a GPU: {', '.join(calls)}")
