"""The training loop on the host; `train_and_evaluate` is the whole program."""

import contextlib
import dataclasses
import json
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator

import ml_collections
import numpy as np
import orbax.checkpoint as ocp

from glam_jax import (
    checkpoint,
    input_pipeline,
    metrics,
    models,
    parallel,
    provenance,
    recognizer,
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
    split_table = runs_lib.split_table(all_runs, dataset)
    workdir_lib.keep_splits(folder, split_table)
    if finished.exists():
        return complete(finished)
    both_sides = leakage.measure([run.split for run in all_runs], dataset.groups)
    print(leakage.describe(both_sides))
    outputs = workdir_lib.Workdir(folder, dataset.class_names)
    parallel.wait_for_all("files are read")
    count, *shape = dataset.features.shape
    print(
        f"{len(dataset.labels)} utterances, {count} segments of {shape[0]} x {shape[1]}"
        f" from {input_pipeline.data_sets(config)[0].folder(config.data_dir)}\n"
        f"compiling for {parallel.describe()} ... ",
        end="",
        flush=True,
    )
    program = program_lib.create(config, dataset, all_runs)
    print(
        f"{program.compile_seconds:.1f} s, after {program.load_seconds:.1f} s for the "
        f"data; {program_lib.describe(program)}"
    )
    outputs.describe(config, dataset, provenance.begin(dataset))
    progress = progress_lib.Progress(all_runs, config.num_epochs)
    unfinished = [run for run in all_runs if run.number not in outputs.finished()]
    with _stop_signals() as stop_requested:
        for group in program_lib.groups(program, unfinished):
            train_group(program, group, outputs, progress, stop_requested)
    state = selected_state(program, all_runs[0], outputs)
    if parallel.is_first_process():
        test = all_runs[0].split.test
        embeddings = program_lib.embeddings(program, state, test)
        if embeddings is not None:
            report.save_embedding(folder, embeddings, dataset.labels[test])
        outputs.end(provenance.now())
        sha256 = split_files.digest(split_table)
        report.write(folder, {"sha256": sha256, "both_sides": both_sides})
    parallel.wait_for_all("report is written")
    return json.loads(finished.read_text())


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
    for key in (
        "num_runs",
        "seed",
        "mixup_alpha",
        "warmup_epochs",
        "runs_per_group",
        "input_workers",
    ):
        if config[key] < 0:
            raise ValueError(f"config.{key} must not be negative, not {config[key]}")
    models.row(config.model)
    for key, names in (
        ("optimizer", steps.OPTIMIZERS),
        ("schedule", steps.SCHEDULES),
        ("protocol", splits.PROTOCOLS),
        ("parallel", parallel.MODES),
        ("input", parallel.INPUTS),
        ("dtype", steps.DTYPES),
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


@dataclasses.dataclass(frozen=True)
class Member:
    """A run of a group in training.

    Attributes:
      run: The run.
      checkpoints: The checkpoints of the run.
      state: The state from which it starts or goes on.
    """

    run: runs_lib.Run
    checkpoints: ocp.CheckpointManager
    state: steps.TrainState

    @property
    def epochs_done(self) -> int:
        """Whole epochs before this start."""
        return int(self.state.step) // self.run.steps_per_epoch


def train_group(
    program: program_lib.Program,
    group: list[runs_lib.Run],
    outputs: workdir_lib.Workdir,
    progress: progress_lib.Progress,
    stop_requested: Callable[[], bool],
) -> None:
    """Trains runs from their last checkpoints to their end, and keeps predictions.

    Raises:
      Preempted: after saving, when a stop was requested.
      FloatingPointError: when a loss is not finite.
    """
    pace = program_lib.Pace()
    with contextlib.ExitStack() as stack:
        members = [begin(program, run, outputs, stack) for run in group]
        for member in members:
            outputs.metrics.forget_after(member.run.number, member.epochs_done)
        epochs_done = min(member.epochs_done for member in members)
        progress.begin_group(group, epochs_done, outputs.folder)
        state = program.layout.put_runs([member.state for member in members])
        for epoch in range(epochs_done, program.config.num_epochs):
            state, speed = program_lib.train_epoch(
                program, state, group, epoch, stop_requested, pace
            )
            stopping = parallel.any_process(stop_requested())
            rows = finish_epoch(program, members, state, epoch, outputs, speed)
            save_due(program, members, state, rows, outputs, stopping)
            if rows:
                progress.epoch(group, list(rows.values()))
            if stopping:
                raise Preempted
    progress.end_group()
    states = [selected_state(program, run, outputs) for run in group]
    logits = program_lib.mean_logits(program, program.layout.put_runs(states), group)
    for run, state, of_run in zip(group, states, logits, strict=True):
        outputs.choose(run, int(state.step))
        outputs.predictions.add(
            run.number,
            program.dataset.ids[run.split.test],
            program.dataset.labels[run.split.test],
            recognizer.softmax(of_run[run.split.test]),
        )


def begin(
    program: program_lib.Program,
    run: runs_lib.Run,
    outputs: workdir_lib.Workdir,
    stack: contextlib.ExitStack,
) -> Member:
    """Opens a run's checkpoints and reads the last one, if there is any."""
    selection = splits.protocol(program.config.protocol).selection
    folder = outputs.checkpoints(run.number)
    checkpoints = stack.enter_context(checkpoint.manager(folder, selection))
    state = program.init(run.seed)
    if (latest := checkpoints.latest_step()) is not None:
        state = checkpoint.restore(checkpoints, state, latest)
    return Member(run, checkpoints, state)


def finish_epoch(
    program: program_lib.Program,
    members: list[Member],
    state: steps.TrainState,
    epoch: int,
    outputs: workdir_lib.Workdir,
    speed: float,
) -> dict[int, dict]:
    """Evaluates the runs that have finished an epoch, and adds their rows.

    Args:
      program: The compiled functions.
      members: The runs; one that was past this epoch at its start is left alone.
      state: The states of the group on the devices.
      epoch: The epoch, counted from 0.
      outputs: The files of the training.
      speed: Segments that the group trained per second.

    Returns:
      The rows of metrics.jsonl of the runs that have finished it, by their number.
    """
    done = program.layout.fetch(state.step)
    finished = [
        k
        for k, member in enumerate(members)
        if member.epochs_done <= epoch
        and done[k] == (epoch + 1) * member.run.steps_per_epoch
    ]
    if not finished:
        return {}
    group = [member.run for member in members]
    logits = program_lib.mean_logits(program, state, group)
    loss_sums = program.layout.fetch(state.loss_sum)
    rows = {}
    for k in finished:
        row = epoch_row(program, group[k], epoch, float(loss_sums[k]), logits[k])
        row["segments_per_second"] = speed / len(finished)
        outputs.metrics.add(row)
        rows[group[k].number] = row
    return rows


def save_due(
    program: program_lib.Program,
    members: list[Member],
    state: steps.TrainState,
    rows: dict[int, dict],
    outputs: workdir_lib.Workdir,
    stopping: bool,
) -> None:
    """Saves the runs that are due.

    Args:
      program: The compiled functions.
      members: The runs of the group.
      state: Their states on the devices.
      rows: What `finish_epoch` gave.
      outputs: The files of the training.
      stopping: Whether to save in any case, even in the middle of an epoch.
    """
    due = [
        (k, member.checkpoints, rows.get(member.run.number))
        for k, member in enumerate(members)
        if stopping
        or (
            member.run.number in rows
            and is_due(outputs.metrics.of_run(member.run.number), program.config)
        )
    ]
    if due:
        states = program_lib.fetch(program, state)
        for k, checkpoints, row in due:
            checkpoint.save(checkpoints, states[k], row)


def epoch_row(
    program: program_lib.Program,
    run: runs_lib.Run,
    epoch: int,
    loss_sum: float,
    logits: np.ndarray,
) -> dict:
    """What metrics.jsonl says of a run's epoch.

    Args:
      program: The compiled functions.
      run: The run.
      epoch: The epoch, counted from 0.
      loss_sum: The sum of the losses of its steps.
      logits: (utterances, classes) of the held-out utterances.
    """
    row = {
        "run": run.number,
        "seed": run.seed,
        "fold": run.fold,
        "epoch": epoch + 1,
        "train_utterances": len(run.split.train),
        "segments": run.steps_per_epoch * program.config.batch_size,
        "loss": loss_sum / run.steps_per_epoch,
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
    program: program_lib.Program, run: runs_lib.Run, outputs: workdir_lib.Workdir
) -> steps.TrainState:
    """Reads the state of the epoch that the protocol reports, of a trained run."""
    selection = splits.protocol(program.config.protocol).selection
    row = metrics.selected(outputs.metrics.of_run(run.number), selection)
    folder = outputs.checkpoints(run.number)
    with checkpoint.manager(folder, selection) as checkpoints:
        like = program.init(run.seed)
        return checkpoint.restore(checkpoints, like, row["epoch"] * run.steps_per_epoch)
