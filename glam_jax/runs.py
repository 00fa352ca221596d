"""The runs of a training: seed, fold, and which segments train and test."""

import dataclasses
from collections import Counter
from typing import Any

import ml_collections
import numpy as np

from data_prep import paths
from glam_jax import input_pipeline, splits, streams
from glam_jax.splits import split_files


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of the many that a report summarises.

    Attributes:
      number: The run's number, counted from 0.
      seed: It decides the split, the initial weights, the order and mixup.
      fold: What is held out, or a split file's column; '' for a random split.
      split: Utterances that train, validate and test.
      train_segments: (n,) int32 indices; upsampling repeats some.
      eval_segments: (m,) int32 indices of the segments that validate and test.
      class_weights: (classes,) float32, the weight of each class's losses.
      steps_per_epoch: Whole batches in an epoch.
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
      ValueError: When the protocol or the split file does not fit the corpus, or a run
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
        if config.upsampling:
            copies = np.zeros(len(dataset.labels), int)
            copies[split.train] = upsample(labels, seed)
            owners = dataset.utterance[train_segments]
            train_segments = np.repeat(train_segments, copies[owners])
            labels = np.repeat(labels, copies[split.train])
        class_weights = np.ones(len(dataset.class_names), np.float32)
        if config.class_weights:
            class_weights = inverse_frequencies(labels, len(dataset.class_names))
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
    counts = Counter(run.fold for run in planned)
    if len(set(counts.values())) > 1 and len(planned) > len(counts):
        print(
            f"warning: {len(planned)} runs of {len(counts)} folds: some have more "
            "seeds than others, and weigh more in the means; config.num_runs should be "
            f"a multiple of {len(counts)}"
        )
    return planned


def named_splits(
    config: ml_collections.ConfigDict, dataset: input_pipeline.Dataset
) -> list[tuple[str, splits.Split]]:
    """The fold of each run, and its split.

    Raises:
      ValueError: When the protocol or the split file does not fit the corpus.
    """
    groups = dataset.groups
    if config.split_file:
        path = paths.local(config.split_file, "config.split_file")
        read = split_files.read(path, dataset.ids)
        selection = splits.protocol(config.protocol).selection
        by_validation = selection == "validation"
        if config.protocol == "table":  # it reports the last epoch where none has any
            by_validation = any(len(split.validation) for split in read.values())
        for name, split in read.items():
            if by_validation and len(split.validation) == 0:
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


def split_table(all_runs: list[Run], dataset: input_pipeline.Dataset) -> str:
    """The splits of all runs as CSV, a column for each run."""
    return split_files.to_csv(
        dataset.ids, names(all_runs), [run.split for run in all_runs]
    )


def utterances(all_runs: list[Run], dataset: input_pipeline.Dataset) -> dict[str, Any]:
    """Counts the utterances that are used, for the report.

    Returns:
      'used': those in any part of any run; 'of': those that the protocol could use;
      'too_short': those that it leaves out since they are shorter than a segment; and
      for 'train', 'validation' and 'test' the fewest and the most of a run.
    """
    parts = {
        part: [getattr(run.split, part) for run in all_runs]
        for part in split_files.PARTS
    }
    used = np.unique(np.concatenate([part for runs in parts.values() for part in runs]))
    return {
        "used": len(used),
        "of": len(dataset.labels),
        "too_short": dataset.too_short,
        **{name: [min(map(len, p)), max(map(len, p))] for name, p in parts.items()},
    }


def inverse_frequencies(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(classes,) weights, of mean 1 over the labels.

    Args:
      labels: The labels of the training utterances, as often as they train.
      num_classes: Classes; one without utterances weighs nothing.
    """
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts)
    return np.where(counts > 0, weights, 0).astype(np.float32)


def upsample(labels: np.ndarray, seed: int) -> np.ndarray:
    """How often each utterance trains, so that all classes have as many.

    Args:
      labels: The labels of the training utterances.
      seed: It draws those that are repeated once more than others of their class.
    """
    random = streams.stream(seed, "upsampling")
    copies = np.ones(len(labels), int)
    most = np.bincount(labels).max()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        times, rest = divmod(most, len(members))
        copies[members] = times
        copies[random.choice(members, rest, replace=False)] += 1
    return copies


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What a run trains on in an epoch, for each of its steps.

    Attributes:
      pairs: (steps, 2, batch_size) int32, the segments of a batch, and with which
        segment each is mixed.
      weights: (steps,) float32, the weight of a batch's segments against their
        partners; 1 without mixup.
    """

    pairs: np.ndarray
    weights: np.ndarray


def draw_epoch(run: Run, epoch: int, batch_size: int, mixup_alpha: float) -> Epoch:
    """Draws order, partners and weights of an epoch by (seed, epoch).

    One weight ~ Beta(alpha, alpha) and one permutation a batch (paper, section 3.3).

    Args:
      run: The run.
      epoch: The epoch, counted from 0.
      batch_size: Segments in a batch; the rest of an epoch's order is dropped.
      mixup_alpha: Alpha of the Beta distribution; 0 for no mixup.
    """
    steps = run.steps_per_epoch
    order = streams.stream(run.seed, "order", epoch).permutation(run.train_segments)
    batches = order[: steps * batch_size].reshape(steps, batch_size)
    weights = np.ones(steps, np.float32)
    if mixup_alpha == 0:
        return Epoch(np.stack([batches, batches], axis=1), weights)
    partners = streams.stream(run.seed, "partners", epoch).permuted(batches, axis=1)
    beta = streams.stream(run.seed, "weights", epoch).beta(
        mixup_alpha, mixup_alpha, steps
    )
    return Epoch(np.stack([batches, partners], axis=1), beta.astype(np.float32))
