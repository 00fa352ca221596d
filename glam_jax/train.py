"""The training loop on the host; `train_and_evaluate` is the whole program."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections
import numpy as np
import orbax.checkpoint as ocp

from data_prep import claims, paths, signals, text
from data_prep.signals import Preempted
from glam_jax import (
    checkpoint,
    input_pipeline,
    metrics,
    parallel,
    prepared,
    provenance,
    recognizer,
    report,
    results,
    splits,
    steps,
)
from glam_jax import program as program_lib
from glam_jax import progress as progress_lib
from glam_jax import runs as runs_lib
from glam_jax import workdir as workdir_lib
from glam_jax.splits import gaps, leakage, split_files
from glam_jax.values import check


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict:
    """Trains every run of a config, or what is left of them, and reports.

    The same call on the same workdir goes on where an interrupted one stopped and ends
    with the same numbers.

    Args:
      config: A config as in configs/.
      workdir: The folder of the results (README, "Output files").

    Returns:
      The report of all runs: what report.json holds.

    Raises:
      ValueError: When the config, the data set or the workdir do not fit, or another
        process trains in the workdir.
      FloatingPointError: When a loss is not finite.
      Preempted: After saving, when SIGTERM or Ctrl-C came.
    """
    folder = paths.local(workdir, "workdir")
    check(config)
    if (folder / results.REPORT).exists() and not config.split_file:  # it may change
        workdir_lib.claim(folder, config)
        if report := complete(folder):
            return report
    parallel.use_single_precision()
    dataset = input_pipeline.load(config)
    all_runs = runs_lib.plan(config, dataset)
    # Not before: what is refused leaves no folder.
    with paths.written(folder, paths.make_room("--workdir")), held(folder):
        return _train_and_evaluate(config, dataset, all_runs, folder)


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Keeps a folder to the processes of this training; all of them must ask."""
    refused = None
    with contextlib.ExitStack() as stack:
        if parallel.is_first_process():
            try:
                stack.enter_context(claims.hold(folder))
            except claims.Held as error:
                refused = error
        if parallel.any_process(refused is not None):
            raise refused or claims.Held(f"{folder} is in use by another process")
        yield


def _train_and_evaluate(
    config: ml_collections.ConfigDict,
    dataset: input_pipeline.Dataset,
    all_runs: list[runs_lib.Run],
    folder: pathlib.Path,
) -> dict:
    outputs, origin, splits_used = open_folder(config, dataset, all_runs, folder)
    if done := complete(folder):
        return done
    program = compile_and_tell(config, dataset, all_runs)
    outputs.describe(config, dataset, origin)
    finished = outputs.finished()
    outputs.predictions.keep(finished)
    unfinished = [run for run in all_runs if run.number not in finished]
    progress = progress_lib.Progress(all_runs, config.num_epochs)
    with signals.deferred() as stop_requested:
        for group in program_lib.groups(program, unfinished):
            train_group(program, group, outputs, progress, stop_requested)
    state = selected_state(program, all_runs[0], outputs)
    if parallel.is_first_process():
        test = all_runs[0].split.test
        embeddings = program_lib.embeddings(program, state, test)
        if embeddings is not None:
            report.save_embedding(folder, embeddings, dataset.labels[test])
        outputs.end(provenance.now())
        report.write(folder, splits_used)
    parallel.wait_for_all("report is written")
    return results.read_json(folder / results.REPORT)


def open_folder(
    config: ml_collections.ConfigDict,
    dataset: input_pipeline.Dataset,
    all_runs: list[runs_lib.Run],
    folder: pathlib.Path,
) -> tuple[workdir_lib.Workdir, dict[str, Any], dict[str, Any]]:
    """Makes a folder the place of a config's results, and says what is used.

    Returns:
      The folder's files, where they come from (see `provenance.begin`), and what the
      report says of the splits.

    Raises:
      ValueError: When it is the place of another config, other splits, other data or
        another network, or other processes do not see it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parallel.check_shared(folder)
    workdir_lib.claim(folder, config)
    split_table = runs_lib.split_table(all_runs, dataset)
    workdir_lib.keep_splits(folder, split_table)
    outputs = workdir_lib.Workdir(folder, dataset.class_names)
    origin = provenance.begin(dataset, config.model)
    outputs.check_origin(origin)
    parallel.wait_for_all("files are read")
    splits_used = tell_splits(config, all_runs, dataset) | {
        "file": config.split_file,
        "file_sha256": split_files.file_digest(config.split_file),
        "sha256": split_files.digest(split_table),
    }
    return outputs, origin, splits_used


def tell_splits(
    config: ml_collections.ConfigDict,
    all_runs: list[runs_lib.Run],
    dataset: input_pipeline.Dataset,
) -> dict[str, Any]:
    """Prints what is used, what is on both sides, and classes that lack a side.

    Returns:
      The same for the report: 'utterances', 'both_sides' and 'warnings'.
    """
    utterances = runs_lib.utterances(all_runs, dataset)
    print(results.utterances(utterances))
    by_run = zip(runs_lib.names(all_runs), all_runs, strict=True)
    named = {name: run.split for name, run in by_run}
    both_sides = leakage.measure(list(named.values()), dataset.groups)
    warnings = gaps.find(named, dataset.labels, dataset.class_names)
    if any(np.isin(split.test, split.train).any() for split in named.values()):
        warnings.append(
            "utterances are tested that trained: these scores say nothing about other "
            "speech"
        )
    if config.normalise == "speaker":
        warnings.append(results.TRANSDUCTIVE)
    if dataset.unknown_words:
        listed = " or ".join(map(repr, dataset.unknown_words))
        warnings.append(f"config.classes: no utterance is {listed}")
    warnings += dataset.unused
    unnamed = both_sides.get("speaker", {}).get("unnamed")
    if unnamed and not leakage.heard(both_sides):
        warnings.append(
            f"{unnamed:.4g} utterances that train name no speaker, and may be of one "
            "who is tested"
        )
    print(leakage.describe(both_sides))
    for warning in warnings:
        print(f"warning: {text.printable(warning)}")
    return {
        "utterances": utterances,
        "both_sides": both_sides,
        "warnings": warnings,
    }


def compile_and_tell(
    config: ml_collections.ConfigDict,
    dataset: input_pipeline.Dataset,
    all_runs: list[runs_lib.Run],
) -> program_lib.Program:
    """Compiles the training, and prints what it works on and how long that took."""
    count, *shape = dataset.features.shape
    print(
        f"{count} segments of {shape[0]} x {shape[1]} from "
        f"{prepared.folders(config)}\n"
        f"compiling for {parallel.describe()} ... ",
        end="",
        flush=True,
    )
    program = program_lib.create(config, dataset, all_runs)
    print(
        f"{program.compile_seconds:.1f} s, after {program.load_seconds:.1f} s for the "
        f"data; {program_lib.describe(program)}"
    )
    return program


def complete(folder: pathlib.Path) -> dict | None:
    """Reads the report of a finished training; None when there is none to believe."""
    if not (folder / results.REPORT).exists():
        return None
    if other := results.not_as_written(folder):
        for path in other:
            print(f"{path} is not what was written; it is made again")
        return None
    report = results.read_json(folder / results.REPORT)
    if not results.is_current(report):
        print(f"{folder} was reported by an earlier version; it is reported again")
        return None
    print(f"{folder} is complete.")
    return report


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
      Preempted: After saving, when a stop was requested.
      FloatingPointError: When a loss is not finite.
    """
    pace = program_lib.Pace()
    with contextlib.ExitStack() as stack:
        members = [begin(program, run, outputs, stack) for run in group]
        stack.callback(progress.end_group)
        parallel.check_same([int(member.state.step) for member in members])
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
    states = [selected_state(program, run, outputs) for run in group]
    logits = program_lib.mean_logits(program, program.layout.put_runs(states), group)
    for run, state, of_run in zip(group, states, logits, strict=True):
        outputs.predictions.add(
            run.number,
            program.dataset.ids[run.split.test],
            program.dataset.labels[run.split.test],
            recognizer.softmax(of_run[run.split.test]),
        )
        outputs.choose(run, state)


def begin(
    program: program_lib.Program,
    run: runs_lib.Run,
    outputs: workdir_lib.Workdir,
    stack: contextlib.ExitStack,
) -> Member:
    """Opens a run's checkpoints and reads the last one, if there is any to believe."""
    selection = splits.protocol(program.config.protocol).selection
    folder = outputs.checkpoints(run.number)
    checkpoints = stack.enter_context(checkpoint.manager(folder, selection))
    fresh = Member(run, checkpoints, program.init(run.seed))
    last = checkpoint.restore_last(checkpoints, fresh.state)
    fresh = dataclasses.replace(fresh, state=program_lib.fresh_state(program, run))
    if last is None:
        outputs.metrics.forget_after(run.number, 0)
        return fresh
    state, notes = last
    member = dataclasses.replace(fresh, state=state)
    outputs.metrics.forget_after(run.number, member.epochs_done)
    rows = outputs.metrics.of_run(run.number)
    lost = notes["metrics"] != results.digest(rows)
    if rows and metrics.effective(selection, rows[0]) != "last":
        best = metrics.selected(rows, selection)["epoch"] * run.steps_per_epoch
        lost |= best not in checkpoints.all_steps()
    if not lost:
        return member
    print(
        f"{outputs.folder}: metrics.jsonl or the best checkpoint of run {run.number} "
        "is not what was written; the run is trained anew"
    )
    for step in checkpoints.all_steps():
        checkpoints.delete(step)
    outputs.metrics.forget_after(run.number, 0)
    return fresh


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
        (k, member, rows.get(member.run.number))
        for k, member in enumerate(members)
        if stopping
        or (
            member.run.number in rows
            and is_due(outputs.metrics.of_run(member.run.number), program.config)
        )
    ]
    if due:
        states = program_lib.fetch(program, state)
        for k, member, row in due:
            so_far = outputs.metrics.of_run(member.run.number)
            notes = {"metrics": results.digest(so_far)}
            checkpoint.save(member.checkpoints, states[k], row, notes)


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
    if metrics.effective(selection, rows[-1]) == "last":
        return False
    return metrics.selected(rows, selection) is rows[-1]


def selected_state(
    program: program_lib.Program, run: runs_lib.Run, outputs: workdir_lib.Workdir
) -> steps.TrainState:
    """Reads the state of the epoch that the protocol reports, of a trained run."""
    selection = splits.protocol(program.config.protocol).selection
    row = metrics.selected(outputs.metrics.of_run(run.number), selection)
    folder = outputs.checkpoints(run.number)
    with checkpoint.manager(folder, selection) as checkpoints:
        step = row["epoch"] * run.steps_per_epoch
        return checkpoint.restore(checkpoints, program.init(run.seed), step)[0]
