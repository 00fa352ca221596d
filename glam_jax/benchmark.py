r"""Measures the speed of training and inference, next to PyTorch's. For example:

  python -m glam_jax.benchmark --config=configs/emodb.py --peer=torch

An epoch of run 0 is trained, and its held-out segments are classified, by us and by the
peer in turn (A B A B ...); a first round warms up. The data set must be prepared. Other
work on the machine slows PyTorch down more than us: look at the load that is printed.
"""

import dataclasses
import os
import pathlib
import platform
import re
import sys
import time
from collections.abc import Callable

import jax
import joblib
import ml_collections
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from glam_jax import input_pipeline, parallel, program, runs, steps

try:
    from glam_jax import torch_peer
except ModuleNotFoundError:  # installed by the extra `bench`
    torch_peer = None

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an argument after a colon.", lock_config=True
)
_PEER = flags.DEFINE_enum("peer", None, ["torch"], "Compared with (default: nothing).")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds measured.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", None, "Steps of an epoch (default: all).", 1)
flags.mark_flag_as_required("config")

OURS = "glam_jax"
Cases = dict[str, Callable[[int], object]]  # what to time, given the round from 0
Row = tuple[str, str, str, np.ndarray, str]  # case, target, metric, its values, unit


def our_cases(compiled: program.Program, run: runs.Run) -> Cases:
    """An epoch and the held-out segments, by our compiled functions."""
    state = compiled.place([compiled.init(run.seed)])

    def train(epoch):
        nonlocal state
        state, _ = compiled.train_epoch(state, [run], epoch, lambda: False)

    return {
        "training": train,
        "inference": lambda _: compiled.mean_logits(state, [run]),
    }


def torch_cases(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset, run: runs.Run
) -> Cases:
    """The same by PyTorch: the same batches, mixing weights and partners.

    Raises:
      ValueError: without PyTorch, off the CPU, or for another model than glam.
    """
    if torch_peer is None:
        raise ValueError("--peer=torch needs PyTorch: pip install -e .[bench]")
    if jax.default_backend() != "cpu" or config.model != "glam":
        raise ValueError(
            "--peer=torch compares glam on the CPU (JAX_PLATFORMS=cpu), not "
            f"{config.model} on {parallel.describe()}"
        )
    model = torch_peer.GLAM(len(dataset.class_names), dataset.features.shape[1:])
    peer = torch_peer.Peer(model, config.learning_rate, config.weight_decay)
    labels = dataset.labels[dataset.utterance].astype(np.int64)
    shape = (run.steps_per_epoch, config.batch_size)
    mixup = jax.jit(
        jax.vmap(lambda i: steps.mixup(run.seed, i, shape[1], config.mixup_alpha))
    )

    def train(epoch):
        order = runs.epoch_order(run, epoch, len(run.train_segments))
        batches = order[: np.prod(shape)].reshape(shape)
        mixing = mixup(epoch * shape[0] + np.arange(shape[0]))
        peer.train(dataset.features, labels, batches, *map(np.array, mixing))

    held_out = (dataset.features, run.eval_segments, program.EVAL_BATCH_SIZE)
    return {"training": train, "inference": lambda _: peer.predict(*held_out)}


def speed_rows(case: str, call_size: int, functions: Cases, repeats: int) -> list[Row]:
    """Calls the targets in turn, on `call_size` segments; one warm-up, then repeats."""
    seconds = {target: np.zeros(repeats + 1) for target in functions}
    for repeat in range(repeats + 1):
        for target, function in functions.items():
            start = time.perf_counter()
            function(repeat)
            seconds[target][repeat] = time.perf_counter() - start
    rows = []
    for target, values in seconds.items():
        values = values[1:]
        rows.append((case, target, "time", values, "s"))
        rows.append((case, target, "speed", call_size / values, "segments/s"))
        if target != OURS:
            ratio = values / seconds[OURS][1:]
            rows.append((case, f"{OURS} / {target}", "speed", ratio, "x"))
    return rows


def measure(config: ml_collections.ConfigDict) -> list[Row]:
    """Compile time, training and inference of a config's run 0, by the flags."""
    dataset = input_pipeline.load(config)
    run = runs.plan(config, dataset)[0]
    count = min(_STEPS.value or run.steps_per_epoch, run.steps_per_epoch)
    run = dataclasses.replace(run, steps_per_epoch=count)
    peers = {"torch": torch_cases(config, dataset, run)} if _PEER.value else {}
    compiled = program.Program(config, dataset, [run])
    targets = {OURS: our_cases(compiled, run), **peers}
    rows = [("compile", OURS, "time", np.array([compiled.compile_seconds]), "s")]
    trained, classified = count * config.batch_size, len(run.eval_segments)
    for case, call_size in (("training", trained), ("inference", classified)):
        functions = {target: cases[case] for target, cases in targets.items()}
        rows += speed_rows(case, call_size, functions, _REPEATS.value)
    return rows


def table(rows: list[Row]) -> str:
    """The median, least and greatest value of each row."""
    line = "{:<11}{:<18}{:<8}{:>10}{:>10}{:>10}  {}".format
    lines = [line("case", "target", "metric", "median", "min", "max", "unit")]
    for *names, values, unit in rows:
        numbers = (np.median(values), values.min(), values.max())
        lines.append(line(*names, *(f"{number:.4g}" for number in numbers), unit))
    return "\n".join(lines)


def machine() -> str:
    """Processor, load, versions and threads in words."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    peer = f"; {torch_peer.DESCRIPTION}" if torch_peer and _PEER.value else ""
    return (
        f"{name[1] if name else platform.processor()}, load {os.getloadavg()[0]:.1f}\n"
        f"jax {jax.__version__}, {joblib.cpu_count()} threads{peer}"
    )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    logging.set_verbosity(logging.ERROR)
    try:
        print(f"{machine()}\n\n{table(measure(_CONFIG.value))}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
