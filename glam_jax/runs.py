"""The runs of a training: seed, fold, and which segments train and test."""

import dataclasses
import pathlib

import ml_collections
import numpy as np

from glam_jax import input_pipeline, splits
from glam_jax.splits import files


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of the many that a report summarises.

    Attributes:
      number: from 0.
      seed: of the split, the initial weights, the order and mixup.
      fold: what is held out, or a split file's column; '' for a random split.
      split: utterances that train, validate and test.
      train_segments: (n,) indices; upsampling repeats some.
      eval_segments: (m,) indices, of validation and test.
      class_weights: (classes,) of the losses.
      steps_per_epoch: whole batches; the rest of an epoch's order is dropped.
    """

    number: int
    seed: int
    fold: str
    split: splits.Split
    train_segments: np.ndarray
    eval_segments: np.ndarray
    class_weights: np.ndarray
    steps_per_epoch: int


def plan(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset
) -> list[Run]:
    """The runs of a config: run k has seed `config.seed + k` and the k-th fold.

    Raises:
      ValueError: when the protocol or the split file does not fit the corpus, or a run
        would have less than one batch to train on.
    """
    planned = []
    for number, (fold, split) in enumerate(named_splits(config, dataset)):
        seed = config.seed + number
        train_segments = dataset.training_segments(split.train)
        if len(train_segments) < config.batch_size:
            raise ValueError(
                f"run {number} has {len(train_segments)} training segments, fewer than "
                f"one batch of {config.batch_size}"
            )
        labels = dataset.labels[split.train]
        class_weights = np.ones(len(dataset.class_names), np.float32)
        if config.class_weights:
            class_weights = inverse_frequencies(labels, len(dataset.class_names))
        if config.upsampling:
            copies = np.zeros(len(dataset.labels), int)
            copies[split.train] = upsample(labels, seed)
            owners = dataset.utterance[train_segments]
            train_segments = np.repeat(train_segments, copies[owners])
        held_out = np.concatenate([split.validation, split.test])
        planned.append(
            Run(
                number=number,
                seed=seed,
                fold=fold,
                split=split,
                train_segments=train_segments,
                eval_segments=dataset.testing_segments(held_out),
                class_weights=class_weights,
                steps_per_epoch=len(train_segments) // config.batch_size,
            )
        )
    return planned


def named_splits(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset
) -> list[tuple[str, splits.Split]]:
    """The fold of each run, and its split.

    Raises:
      ValueError: when the protocol or the split file does not fit the corpus.
    """
    groups = dataset.groups
    if config.split_file:
        read = files.read(pathlib.Path(config.split_file), dataset.ids)
        selection = splits.protocol(config.protocol).selection
        for name, split in read.items():
            if selection == "validation" and len(split.validation) == 0:
                raise ValueError(
                    f"split file {config.split_file}: {name} has no validation "
                    f"utterance, by which protocol {config.protocol!r} chooses an epoch"
                )
            splits.check_independent(config.protocol, split, groups)
        columns = list(read.items())
        return [columns[k % len(columns)] for k in range(config.num_runs or len(read))]
    folds = list(splits.folds(config.protocol, groups, config.num_folds).items())
    folds = folds or [("", None)]
    return [
        (fold, splits.split(config.protocol, groups, config.seed + k, test))
        for k in range(config.num_runs or len(folds))
        for fold, test in [folds[k % len(folds)]]
    ]


def names(all_runs: list[Run]) -> list[str]:
    """A name for each run: its fold or its seed, both when folds are repeated."""
    short = [run.fold or f"seed{run.seed}" for run in all_runs]
    if len(set(short)) == len(short):
        return short
    return [f"{run.fold}_seed{run.seed}" for run in all_runs]


def split_file(all_runs: list[Run], dataset: input_pipeline.Dataset) -> str:
    """The text of a split file with a column for each run."""
    return files.to_csv(dataset.ids, names(all_runs), [run.split for run in all_runs])


def inverse_frequencies(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(classes,) weights, of mean 1 over the labels.

    Args:
      labels: of the training utterances.
      num_classes: a class without utterances weighs nothing.
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts)
    return np.where(counts > 0, weights, 0).astype(np.float32)


def upsample(labels: np.ndarray, seed: int) -> np.ndarray:
    """How often each utterance trains, so that all classes have as many.

    Args:
      labels: of the training utterances.
      seed: draws those that are repeated once more than others of their class.
    """
    random = np.random.default_rng((seed, 0, 1))
    copies = np.ones(len(labels), int)
    most = np.bincount(labels).max()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        times, rest = divmod(most, len(members))
        copies[members] = times
        copies[random.choice(members, rest, replace=False)] += 1
    return copies


def epoch_batches(run: Run, epoch: int, batch_size: int) -> np.ndarray:
    """(steps, batch_size) the run's training segments in an epoch, by (seed, epoch)."""
    random = np.random.default_rng((run.seed, epoch))
    order = random.permutation(run.train_segments)
    return order[: run.steps_per_epoch * batch_size].reshape(-1, batch_size)
