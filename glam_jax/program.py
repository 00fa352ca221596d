"""A training's compiled functions with its data, and what they do for a group of runs.

A group of runs is trained at once. One compilation serves all groups: numbers of steps
and of test segments are arguments.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import ml_collections
import numpy as np
import tqdm

from glam_jax import (
    feeds,
    input_pipeline,
    models,
    parallel,
    recognizer,
    runs,
    steps,
)
from glam_jax.models import inputs

EVAL_BATCH_SIZE = 64  # on a device
CPU_EVAL_BATCH_SIZE = 8  # stays in a core's cache: 11 % faster than 32 on two cores
FIRST_ROWS = 8  # steps in the first call; then as many as SECONDS_PER_CALL allow
SECONDS_PER_CALL = 10.0  # after which the host looks whether to stop
STREAM_BATCHES = 8  # in a chunk


@dataclasses.dataclass(frozen=True)
class Program:
    """A training's compiled functions, and its data on the devices.

    Attributes:
      config: The recipe.
      dataset: The utterances.
      setup: The network and the optimizer.
      layout: Where the runs of a group are trained.
      feed: How segments come to the devices.
      init: Maps a seed to a run's state before its first step.
      train_steps: `steps.train_steps` of all slots.
      evaluate: `steps.evaluate` of all slots.
      most_steps: Steps in the longest epoch of all runs.
      eval_batch_size: Segments that a device evaluates at once.
      eval_length: Places for the segments that a run evaluates.
      bytes_per_run: Memory that a run takes on a device, about.
      load_seconds: How long it took to bring the data to the devices.
      compile_seconds: How long it took to compile.
    """

    config: ml_collections.ConfigDict
    dataset: input_pipeline.Dataset
    setup: steps.Setup
    layout: parallel.Layout
    feed: feeds.Feed
    init: Callable
    train_steps: Callable
    evaluate: Callable
    most_steps: int
    eval_batch_size: int
    eval_length: int
    bytes_per_run: int
    load_seconds: float = 0.0
    compile_seconds: float = 0.0


def create(
    config: ml_collections.ConfigDict,
    dataset: input_pipeline.Dataset,
    all_runs: Sequence[runs.Run],
) -> Program:
    """Plans, loads and compiles a training.

    Args:
      config: The recipe.
      dataset: The utterances.
      all_runs: The runs to train.

    Raises:
      ValueError: When the network lacks something, or its batches cannot be split.
    """
    num_classes = len(dataset.class_names)
    feature_shape = dataset.features.shape[1:]
    alone = steps.create_setup(config, num_classes)
    network = models.check(alone.model, feature_shape, num_classes)
    bytes_per_run = steps.memory_per_run(alone, feature_shape)
    plan = parallel.plan_layout(
        parallel.machine(),
        num_runs=len(all_runs),
        bytes_per_run=bytes_per_run,
        segment_bytes=dataset.features.nbytes,
        splittable=network.splittable,
        mode=config.parallel,
        input_mode=config.input,
        runs_per_group=config.runs_per_group,
    )
    layout = parallel.Layout.of(plan)
    parallel.check_divisible(config.batch_size, layout)
    setup = steps.create_setup(config, num_classes, layout.axis)
    start = time.perf_counter()
    feed = feeds.create(dataset, layout, plan.streams, config.input_workers)
    loaded = time.perf_counter()
    on_cpu = layout.devices[0].platform == "cpu"
    eval_batch_size = CPU_EVAL_BATCH_SIZE if on_cpu else EVAL_BATCH_SIZE
    evaluate = functools.partial(
        steps.evaluate, setup, eval_batch_size, len(dataset.labels)
    )
    program = Program(
        config=config,
        dataset=dataset,
        setup=setup,
        layout=layout,
        feed=feed,
        init=jax.jit(functools.partial(steps.create_state, alone, feature_shape)),
        train_steps=layout.map(
            functools.partial(steps.train_steps, setup),
            shared=(False, feed.shared, False, False),
            donate=(0,),
        ),
        evaluate=layout.map(evaluate, shared=(False, feed.shared, False)),
        most_steps=max(run.steps_per_epoch for run in all_runs),
        eval_batch_size=eval_batch_size,
        eval_length=_round_up(
            max(len(run.eval_segments) for run in all_runs),
            layout.parts * eval_batch_size,
        ),
        bytes_per_run=bytes_per_run,
    )
    try:
        _compile(program, all_runs[0])
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ValueError(
            f"{describe(program)} take more than the memory of a device. Train fewer "
            f"at a time (--config.runs_per_group={max(layout.group_size // 2, 1)}), "
            "stream the segments (--config.input=stream), or take a smaller "
            "--config.batch_size, which changes the numbers"
        ) from error
    compiled = time.perf_counter()
    return dataclasses.replace(
        program, load_seconds=loaded - start, compile_seconds=compiled - loaded
    )


def _compile(program: Program, run: runs.Run) -> None:
    """Calls the mapped functions once, for no steps and no segments."""
    state = program.layout.put_runs([program.init(run.seed)])
    epoch = _draw(program, [run], 0)
    nothing = _windows(program, [run], epoch, 0, np.zeros(1), np.zeros(1))
    chunk = next(_training_chunks(program, [run], epoch, 0))
    state = program.train_steps(state, chunk.data, chunk.indices, nothing)
    chunk = next(_evaluation_chunks(program, []))
    sums = program.evaluate(steps.variables(state), chunk.data, chunk.indices)
    jax.block_until_ready(sums)


def describe(program: Program) -> str:
    """How many runs are trained at once, and the memory that one takes."""
    layout = program.layout
    place = "one run at a time"
    if layout.group_size > 1:
        place = f"{layout.group_size} runs at a time"
    elif layout.axis and layout.num_devices > 1:
        place += " on all devices"
    streamed = "" if program.feed.shared else "; segments are streamed"
    mebibytes = program.bytes_per_run / 2**20
    return f"{place}, about {mebibytes:.0f} MiB for a run{streamed}"


def fresh_state(program: Program, run: runs.Run) -> steps.TrainState:
    """A run's state before its first step, with the statistics that normalise."""
    state = program.init(run.seed)
    if program.config.normalise != "training":
        return state
    return steps.with_statistics(state, *_statistics(program, state, run))


def _statistics(
    program: Program, state: steps.TrainState, run: runs.Run
) -> tuple[np.ndarray, np.ndarray]:
    """(frequency, 1) mean and standard deviation over a run's training segments."""
    model = steps.create_network(program.config, program.setup.num_classes)
    extract = jax.jit(functools.partial(model.apply, method="features"))
    segments, size = np.unique(run.train_segments), program.eval_batch_size
    moments = input_pipeline.Moments()
    for start in range(0, len(segments), size):
        some = segments[start : start + size]
        # The last batch is filled up, so that one compilation serves all.
        x = extract(
            steps.trained(state), program.dataset.features[np.resize(some, size)]
        )
        moments.add(np.asarray(x)[: len(some)], program.config.short == "silence")
    return moments.mean_and_deviation()


def groups(program: Program, unfinished: Sequence[runs.Run]) -> list[list[runs.Run]]:
    """Divides runs into groups that are trained at once."""
    size = program.layout.group_size
    return [
        list(unfinished[start : start + size])
        for start in range(0, len(unfinished), size)
    ]


def fetch(program: Program, state: steps.TrainState) -> list[steps.TrainState]:
    """Copies the states of a group to the host, one for each run."""
    stacked = program.layout.fetch(state)
    return [
        jax.tree.map(lambda leaf, k=k: leaf[k], stacked)
        for k in range(program.layout.group_size)
    ]


@dataclasses.dataclass
class Pace:
    """How many steps the next call shall do; a call should take SECONDS_PER_CALL.

    All processes do the same, or each would wait for the others at another step.
    """

    rows: int = FIRST_ROWS

    def adjust(self, seconds_per_row: float) -> None:
        """Learns from a call."""
        self.rows = parallel.least(max(1, int(SECONDS_PER_CALL / seconds_per_row)))


def train_epoch(
    program: Program,
    state: steps.TrainState,
    group: Sequence[runs.Run],
    epoch: int,
    stop_requested: Callable[[], bool],
    pace: Pace,
) -> tuple[steps.TrainState, float]:
    """Trains what is left of an epoch of a group.

    The runs walk through the steps ("rows") of the epoch together. One that has done
    its first rows already waits until the others are there; one with fewer rows waits
    at its end.

    Args:
      program: The compiled functions.
      state: The states of the group on the devices; their memory is reused.
      group: The runs.
      epoch: The epoch, counted from 0.
      stop_requested: It is asked every few seconds whether to stop in the middle.
      pace: It decides how many rows a call trains.

    Returns:
      The state on the devices, and the segments trained per second.

    Raises:
      FloatingPointError: When a loss is not finite.
    """
    rows = np.array([run.steps_per_epoch for run in group])
    epoch_start = epoch * rows
    done = program.layout.fetch(state.step)[: len(group)]
    first = np.minimum(done - epoch_start, rows)  # rows that each run has done
    drawn = _draw(program, group, epoch)
    begin, row = time.perf_counter(), int(first.min())
    with _progress_bar(epoch, rows, first) as bar:
        for chunk in _training_chunks(program, group, drawn, row):
            stop = min(chunk.stop, int(rows.max()))  # other groups may have more rows
            while row < stop:
                if parallel.any_process(stop_requested()):
                    return state, _speed(program, done, state, begin)
                start, next_row = time.perf_counter(), min(row + pace.rows, stop)
                stops = epoch_start + np.clip(next_row, first, rows)
                windows = _windows(
                    program, group, drawn, chunk.start, epoch_start, stops
                )
                state = program.train_steps(state, chunk.data, chunk.indices, windows)
                _check_finite(program, state, group, epoch)
                pace.adjust((time.perf_counter() - start) / (next_row - row))
                bar.update(_trained(row, next_row, first, rows))
                row = next_row
    return state, _speed(program, done, state, begin)


def _progress_bar(epoch: int, rows: np.ndarray, first: np.ndarray) -> tqdm.tqdm:
    return tqdm.tqdm(
        desc=f"epoch {epoch + 1}",
        total=int(rows.sum()),
        initial=int(first.sum()),
        unit="step",
        leave=False,
        disable=None,
    )


def _trained(row: int, next_row: int, first: np.ndarray, rows: np.ndarray) -> int:
    """Steps of all runs from one row to another."""
    return int((np.clip(next_row, first, rows) - np.clip(row, first, rows)).sum())


def _speed(
    program: Program, done: np.ndarray, state: steps.TrainState, begin: float
) -> float:
    """Segments trained per second since `begin`, when so many steps were done."""
    trained = program.layout.fetch(state.step)[: len(done)] - done
    seconds = time.perf_counter() - begin
    return int(trained.sum()) * program.config.batch_size / seconds


def _draw(program: Program, group: Sequence[runs.Run], epoch: int) -> list[runs.Epoch]:
    config = program.config
    return [
        runs.draw_epoch(run, epoch, config.batch_size, config.mixup_alpha)
        for run in group
    ]


def _training_chunks(
    program: Program, group: Sequence[runs.Run], drawn: Sequence[runs.Epoch], row: int
) -> Iterator[feeds.Chunk]:
    """The pairs of an epoch's steps from `row` on, for each slot."""
    layout, batch_size = program.layout, program.config.batch_size
    shape = (program.most_steps, 2, layout.parts, batch_size // layout.parts)
    pairs = [_filled(epoch.pairs, program.most_steps).reshape(shape) for epoch in drawn]
    last = len(group) - 1  # fills up the slots without a run
    mine = [pairs[min(run, last)][:, :, part] for run, part in layout.slots]
    distinct = batch_size // layout.parts * min(2, layout.parts)
    return program.feed.chunks(mine, row, STREAM_BATCHES, distinct)


def _windows(
    program: Program,
    group: Sequence[runs.Run],
    drawn: Sequence[runs.Epoch],
    chunk_start: int,
    epoch_starts: np.ndarray,
    stops: np.ndarray,
) -> steps.Window:
    """The steps of each run, and none for slots without a run, on the devices."""
    windows = [
        steps.Window(
            seed=np.int32(run.seed),
            class_weights=run.class_weights,
            mixing_weights=_filled(epoch.weights, program.most_steps),
            epoch_start=np.int32(epoch_start),
            start=np.int32(epoch_start + chunk_start),
            stop=np.int32(stop),
            steps_per_epoch=np.int32(run.steps_per_epoch),
        )
        for run, epoch, epoch_start, stop in zip(
            group, drawn, epoch_starts, stops, strict=True
        )
    ]
    idle = windows[-1].replace(stop=np.int32(0))
    empty = program.layout.group_size - len(group)
    return program.layout.put_runs(windows + [idle] * empty)


def _filled(x: np.ndarray, length: int) -> np.ndarray:
    """Zeros after x, up to a length that all runs share."""
    result = np.zeros((length, *x.shape[1:]), x.dtype)
    result[: len(x)] = x
    return result


def _check_finite(
    program: Program, state: steps.TrainState, group: Sequence[runs.Run], epoch: int
) -> None:
    loss_sums = program.layout.fetch(state.loss_sum)
    for k, run in enumerate(group):
        if not math.isfinite(loss_sums[k]):
            step = program.layout.fetch(state.step)[k]
            raise FloatingPointError(
                f"the loss is {loss_sums[k]} in epoch {epoch + 1}, step {step} of run "
                f"{run.number} (seed {run.seed}); a smaller --config.learning_rate may "
                "help"
            )


def mean_logits(
    program: Program, state: steps.TrainState, group: Sequence[runs.Run]
) -> list[np.ndarray]:
    """(utterances, classes) mean logits of held-out utterances, for each run.

    Rows of other utterances hold zeros.
    """
    sums = np.zeros((), np.float32)
    for chunk in _evaluation_chunks(program, group):
        part = program.evaluate(steps.variables(state), chunk.data, chunk.indices)
        sums = sums + program.layout.fetch(part)
    dataset = program.dataset
    tested = dataset.utterance[dataset.testing]
    return list(sums[: len(group)] / np.bincount(tested)[:, None])


def _evaluation_chunks(
    program: Program, group: Sequence[runs.Run]
) -> Iterator[feeds.Chunk]:
    """The held-out segments; a slot without a run has none."""
    layout = program.layout
    held_out = np.full((layout.group_size, program.eval_length), -1, np.int32)
    for row, run in zip(held_out, group, strict=False):
        row[: len(run.eval_segments)] = run.eval_segments
    mine = [held_out[run, part :: layout.parts] for run, part in layout.slots]
    return program.feed.chunks(mine, 0, STREAM_BATCHES * program.eval_batch_size, 1)


def embeddings(
    program: Program, state: steps.TrainState, utterances: np.ndarray
) -> np.ndarray | None:
    """(n, features) of some utterances: the mean embedding of their segments.

    None where the network names no embedding.

    Args:
      program: The compiled functions.
      state: The state of one run, on the host.
      utterances: (n,) indices.
    """
    dataset, size = program.dataset, program.eval_batch_size
    model = steps.create_network(program.config, program.setup.num_classes)
    apply = jax.jit(functools.partial(recognizer.logits_and_embedding, model))
    segments = dataset.testing_segments(utterances)
    sums, counts = np.zeros((), np.float32), np.zeros((), int)
    for start in range(0, len(segments), size):
        # The last batch is filled up, so that one compilation serves all.
        batch = np.resize(segments[start : start + size], size)
        x = inputs.cast(model, dataset.features[batch], program.config.dtype)
        _, embedded = apply(steps.variables(state), x)
        if embedded is None:
            return None
        owner = dataset.utterance[segments[start : start + size]]
        belongs = utterances[:, None] == owner  # (utterances, segments)
        sums = sums + belongs @ np.asarray(embedded)[: len(owner)]
        counts = counts + belongs.sum(axis=1, keepdims=True)
    return sums / counts


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
