"""A training's compiled functions, and its data on the devices."""

import functools
import math
import time
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
import tqdm

from glam_jax import input_pipeline, models, parallel, runs, steps

EVAL_BATCH_SIZE = 64
FIRST_STEPS = 8  # in the first call; then as many as SECONDS_PER_CALL allow
SECONDS_PER_CALL = 10.0  # after which the host looks whether to stop


class Program:
    """A training's compiled functions, and its data on the devices.

    One compilation serves all runs: their numbers of steps and of test segments are
    arguments.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: input_pipeline.Dataset,
        all_runs: list[runs.Run],
    ):
        start = time.time()
        self.config = config
        self.dataset = dataset
        self.model = models.create_model(
            config.model, len(dataset.class_names), batch_axis=parallel.AXIS
        )
        optimizer = steps.create_optimizer(config)
        self.init = jax.jit(
            functools.partial(
                steps.create_state, self.model, optimizer, dataset.features.shape[1:]
            )
        )
        self._devices = parallel.devices()
        parallel.check_divisible(config.batch_size, len(self._devices))
        eval_batch_size = _round_up(EVAL_BATCH_SIZE, len(self._devices))
        self._data = parallel.replicate(
            steps.Data(dataset.features, dataset.utterance, dataset.labels),
            self._devices,
        )
        self._order_length = max(len(run.train_segments) for run in all_runs)
        longest = max(len(run.eval_segments) for run in all_runs)
        self._eval_length = _round_up(longest, eval_batch_size)
        self._steps_per_call = FIRST_STEPS

        state = self.place(self.init(all_runs[0].seed))
        order = np.zeros(self._order_length, np.int32)
        segments = np.zeros(self._eval_length, np.int32)
        self._train_steps = (
            parallel.data_parallel(
                functools.partial(steps.train_steps, config, self.model, optimizer),
                self._devices,
                replicated=(True, True, False, False),
                donate=(0,),
            )
            .lower(state, self._data, order, _window(all_runs[0], 0, 0))
            .compile()
        )
        self._evaluate = (
            parallel.data_parallel(
                functools.partial(steps.evaluate, self.model, eval_batch_size),
                self._devices,
                replicated=(True, True, False),
            )
            .lower(_variables(state), self._data, segments)
            .compile()
        )
        self.compile_seconds = time.time() - start

    def place(self, state: steps.TrainState) -> steps.TrainState:
        """Copies a state to the devices."""
        return parallel.replicate(state, self._devices)

    def step(self, state: steps.TrainState) -> int:
        """The steps that a state on the devices has done."""
        return int(parallel.fetch(state.step))

    def loss_sum(self, state: steps.TrainState) -> float:
        """The summed losses of the current epoch of a state on the devices."""
        return float(parallel.fetch(state.loss_sum))

    def train_epoch(
        self,
        state: steps.TrainState,
        run: runs.Run,
        epoch: int,
        stop_requested: Callable,
    ) -> tuple[steps.TrainState, float]:
        """Trains what is left of an epoch.

        Args:
          state: on the devices; its memory is reused.
          run: the run.
          epoch: counted from 0.
          stop_requested: asked every few seconds whether to stop in the middle.

        Returns:
          The state on the devices, and the segments trained per second.

        Raises:
          FloatingPointError: when a loss is not finite.
        """
        epoch_start = epoch * run.steps_per_epoch
        epoch_end = epoch_start + run.steps_per_epoch
        order = runs.epoch_order(run, epoch, self._order_length)
        step = first_step = self.step(state)
        begin = time.time()
        progress = tqdm.tqdm(
            desc=f"epoch {epoch + 1}",
            total=run.steps_per_epoch,
            initial=step - epoch_start,
            unit="step",
            leave=False,
            disable=None,
        )
        while step < epoch_end and not stop_requested():
            start = time.time()
            stop = min(step + self._steps_per_call, epoch_end)
            window = _window(run, epoch_start, stop)
            state = self._train_steps(state, self._data, order, window)
            if not math.isfinite(loss_sum := self.loss_sum(state)):
                raise FloatingPointError(
                    f"the loss is {loss_sum} in epoch {epoch + 1}, step "
                    f"{self.step(state)} of run {run.number} (seed {run.seed}); a "
                    "smaller --config.learning_rate may help"
                )
            seconds_per_step = (time.time() - start) / (stop - step)
            self._steps_per_call = max(1, int(SECONDS_PER_CALL / seconds_per_step))
            progress.update(stop - step)
            step = stop
        progress.close()
        segments = (step - first_step) * self.config.batch_size
        return state, segments / (time.time() - begin)

    def mean_logits(self, state: steps.TrainState, run: runs.Run) -> np.ndarray:
        """(utterances, classes) mean logits of the run's held-out utterances' segments.

        Other rows hold zeros.
        """
        segments = np.full(self._eval_length, -1, np.int32)
        segments[: len(run.eval_segments)] = run.eval_segments
        sums = self._evaluate(_variables(state), self._data, segments)
        tested = self.dataset.utterance[self.dataset.testing]
        return parallel.fetch(sums) / np.bincount(tested)[:, None]

    def embeddings(self, state: steps.TrainState, utterances: np.ndarray) -> np.ndarray:
        """(n, features) of some utterances: the mean input of the classifier.

        Args:
          state: on the host.
          utterances: (n,) indices.
        """

        @jax.jit
        def embed(features):
            _, collected = self.model.apply(
                _variables(state), features, train=False, mutable=["intermediates"]
            )
            return collected["intermediates"]["embedding"][0]

        segments = self.dataset.testing_segments(utterances)
        size = EVAL_BATCH_SIZE
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


def _window(run: runs.Run, epoch_start: int, stop: int) -> steps.Window:
    return steps.Window(
        seed=np.int32(run.seed),
        class_weights=run.class_weights,
        epoch_start=np.int32(epoch_start),
        stop=np.int32(stop),
        steps_per_epoch=np.int32(run.steps_per_epoch),
    )
