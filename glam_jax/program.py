"""A training's compiled functions, and its data on the devices."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import ml_collections
import numpy as np
import tqdm

from glam_jax import feeds, input_pipeline, models, parallel, runs, steps

EVAL_BATCH_SIZE = 64  # on a device
CPU_EVAL_BATCH_SIZE = 8  # stays in a core's cache: 11 % faster than 32 on two cores
FIRST_STEPS = 8  # in the first call; then as many as SECONDS_PER_CALL allow
SECONDS_PER_CALL = 10.0  # after which the host looks whether to stop
STREAM_BATCHES = 8  # in a chunk


class Program:
    """A training's compiled functions, and its data on the devices.

    A group of runs is trained at once. One compilation serves all groups: numbers of
    steps and of test segments are arguments.

    Attributes:
      layout: where the runs of a group are trained.
      bytes_per_run: of memory on a device, about.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: input_pipeline.Dataset,
        all_runs: Sequence[runs.Run],
    ):
        start = time.time()
        self.config = config
        self.dataset = dataset
        feature_shape = dataset.features.shape[1:]
        model = models.create_model(config.model, len(dataset.class_names))
        optimizer = steps.create_optimizer(config)
        self.bytes_per_run = steps.memory_per_run(
            model, optimizer, feature_shape, config
        )
        self.is_streamed = feeds.streams(config.input, dataset)
        free = 0.8 * parallel.memory()
        if not self.is_streamed:
            free -= dataset.features.nbytes
        self.layout = parallel.layout(
            config.parallel,
            len(all_runs),
            config.runs_per_group
            or jax.local_device_count() * int(free / self.bytes_per_run),
        )
        parallel.check_divisible(config.batch_size, self.layout)
        self.model = model.clone(batch_axis=self.layout.axis)
        self.init = jax.jit(
            functools.partial(steps.create_state, model, optimizer, feature_shape)
        )
        if self.is_streamed:
            self._feed = feeds.Stream(dataset, self.layout, config.input_workers)
        else:
            self._feed = feeds.Resident(dataset, self.layout)
        on_cpu = self.layout.devices[0].platform == "cpu"
        self._eval_batch_size = CPU_EVAL_BATCH_SIZE if on_cpu else EVAL_BATCH_SIZE
        self._max_steps = max(run.steps_per_epoch for run in all_runs)
        longest = max(len(run.eval_segments) for run in all_runs)
        self._eval_length = _round_up(
            longest, self.layout.parts * self._eval_batch_size
        )
        self._steps_per_call = FIRST_STEPS

        self._train_steps = self.layout.map(
            functools.partial(steps.train_steps, config, self.model, optimizer),
            shared=(False, self._feed.shared, False, False),
            donate=(0,),
        )
        self._evaluate = self.layout.map(
            functools.partial(
                steps.evaluate,
                config,
                self.model,
                self._eval_batch_size,
                len(dataset.labels),
            ),
            shared=(False, self._feed.shared, False),
        )
        self._compile(all_runs[0])
        self.compile_seconds = time.time() - start

    def _compile(self, run: runs.Run) -> None:
        """Calls the mapped functions once, for no steps and no segments."""
        state = self.place([self.init(run.seed)])
        nothing = self.layout.place([_window(run, 0, 0, 0)])
        chunk = next(self._training_chunks([run], 0, 0))
        state = self._train_steps(state, chunk.data, chunk.indices, nothing)
        chunk = next(self._evaluation_chunks([]))
        sums = self._evaluate(_variables(state), chunk.data, chunk.indices)
        jax.block_until_ready(sums)

    def describe(self) -> str:
        """How many runs are trained at once, and the memory that one takes."""
        layout = self.layout
        place = "one run at a time"
        if layout.group_size > 1:
            place = f"{layout.group_size} runs at a time"
        elif layout.num_devices > 1:
            place += " on all devices"
        streamed = "; segments are streamed" if self.is_streamed else ""
        return (
            f"{place}, about {self.bytes_per_run / 2**20:.0f} MiB for a run{streamed}"
        )

    def groups(self, unfinished: Sequence[runs.Run]) -> list[list[runs.Run]]:
        """Divides runs into those that are trained at once."""
        size = self.layout.group_size
        return [
            list(unfinished[start : start + size])
            for start in range(0, len(unfinished), size)
        ]

    def place(self, states: Sequence[steps.TrainState]) -> steps.TrainState:
        """Copies the states of a group to the devices."""
        return self.layout.place(states)

    def fetch(self, state: steps.TrainState) -> list[steps.TrainState]:
        """Copies the states of a group to the host, one for each of its places."""
        stacked = self.layout.fetch(state)
        return [
            jax.tree.map(lambda leaf, k=k: leaf[k], stacked)
            for k in range(self.layout.group_size)
        ]

    def steps_done(self, state: steps.TrainState) -> np.ndarray:
        """(places,) steps that the runs of a group on the devices have done."""
        return self.layout.fetch(state.step)

    def loss_sums(self, state: steps.TrainState) -> np.ndarray:
        """(places,) summed losses of the current epoch of a group on the devices."""
        return self.layout.fetch(state.loss_sum)

    def train_epoch(
        self,
        state: steps.TrainState,
        group: Sequence[runs.Run],
        epoch: int,
        stop_requested: Callable,
    ) -> tuple[steps.TrainState, float]:
        """Trains what is left of an epoch of a group.

        A run that is past this epoch already stays as it is.

        Args:
          state: of the group on the devices; its memory is reused.
          group: the runs.
          epoch: counted from 0.
          stop_requested: asked every few seconds whether to stop in the middle.

        Returns:
          The state on the devices, and the segments trained per second.

        Raises:
          FloatingPointError: when a loss is not finite.
        """
        starts = np.array([epoch * run.steps_per_epoch for run in group])
        begun = done = self.steps_done(state)[: len(group)]
        # A run that is past this epoch already has nothing to do in it.
        ends = np.maximum([(epoch + 1) * run.steps_per_epoch for run in group], done)
        begin = time.time()
        progress = tqdm.tqdm(
            desc=f"epoch {epoch + 1}",
            total=int((ends - np.minimum(starts, done)).sum()),
            initial=int(np.maximum(done - starts, 0).sum()),
            unit="step",
            leave=False,
            disable=None,
        )
        first = int((done - starts)[done < ends].min())
        for chunk in self._training_chunks(group, epoch, first):
            chunk_ends = np.clip(starts + chunk.stop, done, ends)
            while not (stop := parallel.any_process(stop_requested())) and (
                (done < chunk_ends).any()
            ):
                start = time.time()
                stops = np.minimum(done + self._steps_per_call, chunk_ends)
                windows = self._windows(group, starts, starts + chunk.start, stops)
                state = self._train_steps(
                    state, chunk.data, chunk.indices, self.layout.place(windows)
                )
                self._check_finite(state, group, epoch)
                seconds_per_step = (time.time() - start) / (stops - done).max()
                self._steps_per_call = max(1, int(SECONDS_PER_CALL / seconds_per_step))
                progress.update(int((stops - done).sum()))
                done = stops
            if stop:
                break
        progress.close()
        segments = int((done - begun).sum()) * self.config.batch_size
        return state, segments / (time.time() - begin)

    def _training_chunks(
        self, group: Sequence[runs.Run], epoch: int, first: int
    ) -> Iterator[feeds.Chunk]:
        """Batches of an epoch, from a step of it on, and with whom they are mixed."""
        batch_size, parts = self.config.batch_size, self.layout.parts
        pairs = []
        for run in group:
            batches = np.full((self._max_steps, batch_size), -1, np.int32)
            batches[: run.steps_per_epoch] = runs.epoch_batches(run, epoch, batch_size)
            both = steps.pair(run.seed, epoch * run.steps_per_epoch, batches)
            pairs.append(np.asarray(both).reshape(self._max_steps, 2, parts, -1))
        last = len(group) - 1  # fills up the places without a run
        mine = [pairs[min(k, last)][:, :, part] for k, part in self.layout.places]
        distinct = batch_size // parts * min(2, parts)
        return self._feed.chunks(mine, first, STREAM_BATCHES, distinct)

    def _windows(
        self,
        group: Sequence[runs.Run],
        epoch_starts: np.ndarray,
        starts: np.ndarray,
        stops: np.ndarray,
    ) -> list[steps.Window]:
        """The steps of each run, and none for places without a run."""
        windows = [
            _window(*each)
            for each in zip(group, epoch_starts, starts, stops, strict=True)
        ]
        idle = windows[-1].replace(stop=np.int32(0))
        return windows + [idle] * (self.layout.group_size - len(group))

    def _check_finite(
        self, state: steps.TrainState, group: Sequence[runs.Run], epoch: int
    ) -> None:
        loss_sums = self.loss_sums(state)
        for k, run in enumerate(group):
            if not math.isfinite(loss_sums[k]):
                raise FloatingPointError(
                    f"the loss is {loss_sums[k]} in epoch {epoch + 1}, step "
                    f"{self.steps_done(state)[k]} of run {run.number} (seed "
                    f"{run.seed}); a smaller --config.learning_rate may help"
                )

    def mean_logits(
        self, state: steps.TrainState, group: Sequence[runs.Run]
    ) -> list[np.ndarray]:
        """(utterances, classes) mean logits of held-out utterances, for each run.

        Rows of other utterances hold zeros.
        """
        sums = 0
        for chunk in self._evaluation_chunks(group):
            part = self._evaluate(_variables(state), chunk.data, chunk.indices)
            sums = sums + self.layout.fetch(part)
        tested = self.dataset.utterance[self.dataset.testing]
        return list(sums[: len(group)] / np.bincount(tested)[:, None])

    def _evaluation_chunks(self, group: Sequence[runs.Run]) -> Iterator[feeds.Chunk]:
        """The held-out segments; a place without a run has none."""
        held_out = np.full((self.layout.group_size, self._eval_length), -1, np.int32)
        for row, run in zip(held_out, group, strict=False):
            row[: len(run.eval_segments)] = run.eval_segments
        mine = [
            held_out[k, part :: self.layout.parts] for k, part in self.layout.places
        ]
        return self._feed.chunks(mine, 0, STREAM_BATCHES * self._eval_batch_size, 1)

    def embeddings(self, state: steps.TrainState, utterances: np.ndarray) -> np.ndarray:
        """(n, features) of some utterances: the mean input of the classifier.

        Args:
          state: of one run, on the host.
          utterances: (n,) indices.
        """

        @jax.jit
        def embed(features):
            _, collected = self.model.apply(
                _variables(state),
                features.astype(self.config.dtype),
                train=False,
                mutable=["intermediates"],
            )
            return collected["intermediates"]["embedding"][0]

        segments = self.dataset.testing_segments(utterances)
        size = self._eval_batch_size
        sums = counts = 0
        for start in range(0, len(segments), size):
            # The last batch is filled up, so that one compilation serves all.
            batch = np.resize(segments[start : start + size], size)
            embedded = np.asarray(embed(self.dataset.features[batch]))
            owner = self.dataset.utterance[segments[start : start + size]]
            belongs = utterances[:, None] == owner  # (utterances, segments)
            sums += belongs @ embedded[: len(owner)]
            counts += belongs.sum(axis=1, keepdims=True)
        return sums / counts


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _variables(state: steps.TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _window(run: runs.Run, epoch_start: int, start: int, stop: int) -> steps.Window:
    return steps.Window(
        seed=np.int32(run.seed),
        class_weights=run.class_weights,
        epoch_start=np.int32(epoch_start),
        start=np.int32(start),
        stop=np.int32(stop),
        steps_per_epoch=np.int32(run.steps_per_epoch),
    )
