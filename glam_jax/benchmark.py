r"""Measures the speed of training and inference, next to PyTorch's. For example:

  python -m glam_jax.benchmark --config=configs/emodb.py --peer=torch

An epoch of run 0 is trained, and the segments it holds out are classified, by us and by
the peer in turn (A B A B ...), so that both see the same load. The first round warms up
and does not count. The data set must be prepared, as for glam_jax.main.
"""

import dataclasses
import functools
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable

import jax
import joblib
import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from glam_jax import input_pipeline, parallel, program, runs, steps

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an argument after a colon.", lock_config=True
)
_PEER = flags.DEFINE_enum(
    "peer", None, ["torch"], "What to compare with; by default nothing."
)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds measured.", lower_bound=1)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Steps of an epoch (default: all of them).", lower_bound=1
)
flags.mark_flag_as_required("config")

OURS = "glam_jax"

# By case, 'training' or 'inference': what to time, called with the round from 0.
Cases = dict[str, Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured quantity, with a value of each round."""

    case: str
    target: str
    metric: str
    values: np.ndarray
    unit: str


def our_cases(compiled: program.Program, run: runs.Run) -> Cases:
    """An epoch and the held-out segments, by our compiled functions."""
    state = compiled.place(compiled.init(run.seed))

    def train(epoch):
        nonlocal state
        state, _ = compiled.train_epoch(state, run, epoch, lambda: False)

    return {
        "training": train,
        "inference": lambda _: compiled.mean_logits(state, run),
    }


def import_torch_peer():
    """The module of the peer.

    Raises:
      ValueError: when PyTorch is not installed.
    """
    try:
        from glam_jax import torch_peer
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "--peer=torch needs PyTorch: pip install -e .[bench]"
        raise ValueError(message) from error
    return torch_peer


def torch_cases(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset, run: runs.Run
) -> Cases:
    """The same in PyTorch: the same batches, with the same mixup.

    Raises:
      ValueError: without PyTorch, off the CPU, or for another model than glam.
    """
    if jax.default_backend() != "cpu" or config.model != "glam":
        raise ValueError(
            "--peer=torch compares glam on the CPU (JAX_PLATFORMS=cpu), not "
            f"{config.model} on {parallel.describe()}"
        )
    torch_peer = import_torch_peer()
    feature_shape = dataset.features.shape[1:]
    model, optimizer = torch_peer.create(
        len(dataset.class_names),
        feature_shape,
        config.learning_rate,
        config.weight_decay,
    )
    labels = dataset.labels[dataset.utterance].astype(np.int64)
    batch_shape = (run.steps_per_epoch, config.batch_size)
    draw_mixup = jax.jit(
        jax.vmap(lambda s: steps.mixup(run.seed, s, batch_shape[1], config.mixup_alpha))
    )

    def train(epoch):
        order = runs.epoch_order(run, epoch, len(run.train_segments))
        batches = order[: np.prod(batch_shape)].reshape(batch_shape)
        first_step = epoch * run.steps_per_epoch
        mixing = draw_mixup(first_step + np.arange(run.steps_per_epoch))
        torch_peer.train(
            model, optimizer, dataset.features, labels, batches, *map(np.array, mixing)
        )

    infer = functools.partial(
        torch_peer.predict,
        model,
        dataset.features,
        run.eval_segments,
        steps.EVAL_BATCH_SIZE,
    )
    return {"training": train, "inference": lambda _: infer()}


def seconds_in_turn(
    functions: dict[str, Callable[[int], None]], repeats: int
) -> dict[str, np.ndarray]:
    """(repeats,) seconds of each function, called in turn, after one warm-up each."""
    seconds = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function(repeat)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def speed_rows(case: str, segments: int, seconds: dict[str, np.ndarray]) -> list[Row]:
    """Time and speed of each target, and our speed as a multiple of the others'."""
    rows = []
    for target, values in seconds.items():
        rows.append(Row(case, target, "time", values, "s"))
        rows.append(Row(case, target, "speed", segments / values, "segments/s"))
    for target in seconds.keys() - {OURS}:
        ratio = seconds[target] / seconds[OURS]
        rows.append(Row(case, f"{OURS} / {target}", "speed", ratio, "x"))
    return rows


def measure(
    config: ml_collections.ConfigDict, peer: str | None, repeats: int, num_steps: int
) -> list[Row]:
    """Measures run 0 of a config.

    Args:
      config: the recipe and the data set.
      peer: 'torch', or None for none.
      repeats: rounds measured, each of one epoch.
      num_steps: steps of an epoch, None for all.
    """
    dataset = input_pipeline.load(config)
    run = runs.plan(config, dataset)[0]
    num_steps = min(num_steps or run.steps_per_epoch, run.steps_per_epoch)
    run = dataclasses.replace(run, steps_per_epoch=num_steps)
    cases = {peer: torch_cases(config, dataset, run)} if peer else {}
    compiled = program.Program(config, dataset, [run])
    cases = {OURS: our_cases(compiled, run), **cases}
    segments = {
        "training": num_steps * config.batch_size,
        "inference": len(run.eval_segments),
    }
    rows = [Row("compile", OURS, "time", np.array([compiled.compile_seconds]), "s")]
    for case, count in segments.items():
        functions = {target: cases[target][case] for target in cases}
        rows += speed_rows(case, count, seconds_in_turn(functions, repeats))
    return rows


def table(rows: list[Row]) -> str:
    """The rows with the median, least and greatest value of each."""
    line = "{:<11}{:<18}{:<8}{:>10}{:>10}{:>10}  {}".format
    lines = [line("case", "target", "metric", "median", "min", "max", "unit")]
    for row in rows:
        numbers = (np.median(row.values), row.values.min(), row.values.max())
        numbers = (f"{number:.4g}" for number in numbers)
        lines.append(line(row.case, row.target, row.metric, *numbers, row.unit))
    return "\n".join(lines)


def machine() -> str:
    """Processor, load, versions and threads in words."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = [line for line in text.splitlines() if line.startswith("model name")]
    processor = names[0].split(": ")[1] if names else platform.processor()
    return (
        f"{processor}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n"
        f"jax {jax.__version__} on {parallel.describe()}, {joblib.cpu_count()} threads"
    )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    try:
        rows = measure(_CONFIG.value, _PEER.value, _REPEATS.value, _STEPS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(machine())
    if _PEER.value:
        print(import_torch_peer().describe())
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    app.run(main)
