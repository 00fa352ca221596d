"""The runs of a training: seed, fold, and which segments train and test."""

import dataclasses

import ml_collections
import numpy as np

from glam_jax import input_pipeline, splits


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of the many that a report summarises.

    Attributes:
      number: from 0.
      seed: of the split, the initial weights, the order and mixup.
      fold: what is left out, '' for a random split.
      split: utterances that train, validate and test.
      train_segments: (n,) indices.
      eval_segments: (m,) indices, of validation and test.
      steps_per_epoch: whole batches; the rest of an epoch's order is dropped.
    """

    number: int
    seed: int
    fold: str
    split: splits.Split
    train_segments: np.ndarray
    eval_segments: np.ndarray
    steps_per_epoch: int


def plan(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset
) -> list[Run]:
    """The runs of a config: run k has seed `config.seed + k` and the k-th fold.

    Raises:
      ValueError: when the protocol does not fit the corpus, or a run would have less
        than one batch to train on.
    """
    folds = splits.folds(config.protocol, dataset.groups)
    planned = []
    for number in range(config.num_runs or len(folds)):
        seed, fold = config.seed + number, folds[number % len(folds)]
        split = splits.split(config.protocol, dataset.groups, seed, fold)
        train_segments = dataset.segments_of(split.train)
        if len(train_segments) < config.batch_size:
            raise ValueError(
                f"run {number} has {len(train_segments)} training segments, fewer than "
                f"one batch of {config.batch_size}"
            )
        held_out = np.concatenate([split.validation, split.test])
        eval_segments = dataset.segments_of(held_out)
        steps = len(train_segments) // config.batch_size
        planned.append(
            Run(number, seed, fold, split, train_segments, eval_segments, steps)
        )
    return planned


def epoch_order(run: Run, epoch: int, length: int) -> np.ndarray:
    """The run's training segments in an epoch's order, (seed, epoch)'s; then zeros."""
    random = np.random.default_rng((run.seed, epoch))
    order = np.zeros(length, np.int32)
    order[: len(run.train_segments)] = random.permutation(run.train_segments)
    return order
