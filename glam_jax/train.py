"""The training loop on the host; `train_and_evaluate` is the whole program."""

import contextlib
import json
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator

import ml_collections
import numpy as np
import scipy.special

from glam_jax import (
    checkpoint,
    input_pipeline,
    metrics,
    models,
    parallel,
    report,
    splits,
    steps,
)
from glam_jax import program as program_lib
from glam_jax import progress as progress_lib
from glam_jax import runs as runs_lib
from glam_jax import workdir as workdir_lib
from glam_jax.splits import files as split_files
from glam_jax.splits import leakage


class Preempted(Exception):
    """SIGTERM or Ctrl-C came; what was trained is saved."""


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict:
    """Trains every run of a config, or what is left of them, and reports.

    The same call on the same workdir goes on where an interrupted one stopped and ends
    with the same numbers.

    Args:
      config: as in configs/.
      workdir: the folder of the results (README, "Output files").

    Returns:
      The report of all runs: what report.json holds.

    Raises:
      ValueError: when the config, the data set or the workdir do not fit.
      FloatingPointError: when a loss is not finite.
      Preempted: after saving, when SIGTERM or Ctrl-C came.
    """
    folder = pathlib.Path(workdir)
    check(config)
    finished = folder / workdir_lib.REPORT
    if finished.exists() and not config.split_file:  # which may have changed
        workdir_lib.claim(folder, config)
        return complete(finished)
    dataset = input_pipeline.load(config)
    all_runs = runs_lib.plan(config, dataset)
    workdir_lib.claim(folder, config)
    split_file = runs_lib.split_file(all_runs, dataset)
    workdir_lib.keep_splits(folder, split_file)
    if finished.exists():
        return complete(finished)
    both_sides = leakage.measure([run.split for run in all_runs], dataset.groups)
    print(leakage.describe(both_sides))
    files = workdir_lib.Workdir(folder, dataset.class_names)
    count, *shape = dataset.features.shape
    print(
        f"{len(dataset.labels)} utterances, {count} segments of {shape[0]} x {shape[1]}"
        f" from {input_pipeline.dataset_folder(config, config.hop)}\n"
        f"compiling for {parallel.describe()} ... ",
        end="",
        flush=True,
    )
    program = program_lib.Program(config, dataset, all_runs)
    print(f"{program.compile_seconds:.1f} s")
    progress = progress_lib.Progress(all_runs, config.num_epochs)
    with _stop_signals() as stop_requested:
        for run in all_runs:
            if run.number not in files.predictions.runs():
                train_run(program, run, files, progress, stop_requested)
    first = all_runs[0]
    test = first.split.test
    state = selected_state(program, first, files)
    report.save_embedding(folder, program.embeddings(state, test), dataset.labels[test])
    return report.write(
        folder, {"sha256": split_files.digest(split_file), "both_sides": both_sides}
    )


def complete(finished: pathlib.Path) -> dict:
    """Reads the report of a finished training."""
    print(f"{finished.parent} is complete.")
    return json.loads(finished.read_text())


def check(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for values that no training can have."""
    for key in (
        "batch_size",
        "num_epochs",
        "checkpoint_every",
        "decay_epochs",
        "hop",
        "test_hop",
    ):
        if config[key] < 1:
            raise ValueError(f"config.{key} must be at least 1, not {config[key]}")
    if config.num_folds < 2:
        raise ValueError(f"config.num_folds must be at least 2, not {config.num_folds}")
    for key in ("num_runs", "seed", "mixup_alpha", "warmup_epochs"):
        if config[key] < 0:
            raise ValueError(f"config.{key} must not be negative, not {config[key]}")
    for key, names in (
        ("model", models.MODELS),
        ("optimizer", steps.OPTIMIZERS),
        ("schedule", steps.SCHEDULES),
        ("protocol", splits.PROTOCOLS),
    ):
        if config[key] not in names:
            raise ValueError(
                f"unknown config.{key} {config[key]!r}; there are {', '.join(names)}"
            )


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """While it is open, SIGTERM or Ctrl-C makes the given function return True.

    The second one acts as usual.
    """
    requested = threading.Event()
    previous = {}

    def request(number, frame):
        requested.set()
        signal.signal(number, previous[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, request)
    try:
        yield requested.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train_run(
    program: program_lib.Program,
    run: runs_lib.Run,
    files: workdir_lib.Workdir,
    progress: progress_lib.Progress,
    stop_requested: Callable[[], bool],
) -> None:
    """Trains a run from its last checkpoint to its end, and keeps its predictions.

    Raises:
      Preempted: after saving, when a stop was requested.
      FloatingPointError: when a loss is not finite.
    """
    selection = splits.protocol(program.config.protocol).selection
    folder = files.checkpoints(run.number)
    with checkpoint.manager(folder, selection) as checkpoints:
        state = program.init(run.seed)
        if (latest := checkpoints.latest_step()) is not None:
            state = checkpoint.restore(checkpoints, state, latest)
        epochs_done = int(state.step) // run.steps_per_epoch
        files.metrics.forget_after(run.number, epochs_done)
        progress.begin_run(run, epochs_done, files.folder)
        state = program.place(state)
        for epoch in range(epochs_done, program.config.num_epochs):
            state, speed = program.train_epoch(state, run, epoch, stop_requested)
            epoch_is_whole = program.step(state) == (epoch + 1) * run.steps_per_epoch
            if epoch_is_whole:
                row = epoch_row(program, run, epoch, state)
                files.metrics.add(row | {"segments_per_second": speed})
                progress.epoch(run, files.metrics.rows[-1])
            rows = files.metrics.of_run(run.number)
            if stop_requested() or is_due(rows, program.config):
                saved = parallel.fetch(state)
                checkpoint.save(
                    checkpoints, saved, rows[-1] if epoch_is_whole else None
                )
            if stop_requested():
                raise Preempted
    progress.end_run()
    state = program.place(selected_state(program, run, files))
    logits = program.mean_logits(state, run)[run.split.test]
    files.predictions.add(
        run.number,
        program.dataset.ids[run.split.test],
        program.dataset.labels[run.split.test],
        scipy.special.softmax(logits, axis=1),
    )


def epoch_row(
    program: program_lib.Program, run: runs_lib.Run, epoch: int, state: steps.TrainState
) -> dict:
    """Evaluates the state after an epoch (from 0): its row of metrics.jsonl."""
    logits = program.mean_logits(state, run)
    row = {
        "run": run.number,
        "seed": run.seed,
        "fold": run.fold,
        "epoch": epoch + 1,
        "train_utterances": len(run.split.train),
        "segments": run.steps_per_epoch * program.config.batch_size,
        "loss": program.loss_sum(state) / run.steps_per_epoch,
        "learning_rate": float(
            steps.learning_rate(
                program.config, epoch * run.steps_per_epoch, run.steps_per_epoch
            )
        ),
        **measure(program.dataset, logits, run.split.test),
    }
    if len(run.split.validation):
        validation = measure(program.dataset, logits, run.split.validation)
        row |= {f"validation_{name}": value for name, value in validation.items()}
    return row


def measure(
    dataset: input_pipeline.Dataset, logits: np.ndarray, utterances: np.ndarray
) -> dict[str, float]:
    """WA, UA and F1s of some utterances, from (all utterances, classes) logits."""
    predictions = logits[utterances].argmax(axis=1)
    matrix = metrics.confusion_matrix(
        dataset.labels[utterances], predictions, len(dataset.class_names)
    )
    return metrics.from_confusion(matrix)


def is_due(rows: list[dict], config: ml_collections.ConfigDict) -> bool:
    """Whether to save after the last of a run's epochs: regularly, and a new best."""
    epoch = rows[-1]["epoch"]
    if epoch % config.checkpoint_every == 0 or epoch == config.num_epochs:
        return True
    selection = splits.protocol(config.protocol).selection
    return selection != "last" and metrics.selected(rows, selection) is rows[-1]


def selected_state(
    program: program_lib.Program, run: runs_lib.Run, files: workdir_lib.Workdir
) -> steps.TrainState:
    """Reads the state of the epoch that the protocol reports, of a trained run."""
    selection = splits.protocol(program.config.protocol).selection
    row = metrics.selected(files.metrics.of_run(run.number), selection)
    folder = files.checkpoints(run.number)
    with checkpoint.manager(folder, selection) as checkpoints:
        like = program.init(run.seed)
        return checkpoint.restore(checkpoints, like, row["epoch"] * run.steps_per_epoch)
