"""Finished trainings without training: in memory, or in a folder as a training does."""

import pathlib

import numpy as np

from configs import iemocap
from glam_jax import input_pipeline, metrics, report, results, splits, workdir
from glam_jax.splits import labels as labels_lib

CLASSES = ("neutral", "sad", "angry", "excited")
# What report.json says of the splits of a training on all eight utterances.
SPLITS = {
    "file": "",
    "file_sha256": "",
    "sha256": "0" * 64,
    "utterances": {
        "used": 8,
        "of": 8,
        "too_short": 0,
        "train": [4, 4],
        "validation": [0, 0],
        "test": [4, 4],
    },
    "both_sides": {"speaker": {"shared": 0, "tested": 1}},
    "warnings": [],
}


def training(name, wa, tested=("a", "b", "c", "d"), protocol="paper", **changes):
    """A training in memory with these WA of its runs; UA is ten lower.

    All runs are tested on the same utterances, of the four classes in turn, by four
    speakers, and take the class for sad. `changes` are fields of the report.
    """
    runs = [
        {
            "run": run,
            "train_utterances": 80,
            "test_utterances": 20,
            "selected": {"wa": value, "ua": value - 10},
            "last": {"wa": value - 5, "ua": value - 15},
        }
        for run, value in enumerate(wa)
    ]
    summary = {
        epoch: {
            measure: metrics.summarise(
                [run[epoch]["ua" if measure == "ua" else "wa"] for run in runs], 0.25
            )
            for measure in metrics.NAMES
        }
        for epoch in ("selected", "last")
    }
    shared = 0 if splits.protocol(protocol).never_shared else 2
    described = {
        "corpus": "iemocap",
        "tfds_splits": ["impro"],
        "model": name,
        "protocol": protocol,
        "selection": splits.protocol(protocol).selection,
        "num_epochs": 50,
        "classes": list(CLASSES),
        "splits": SPLITS | {"both_sides": {"speaker": {"shared": shared, "tested": 2}}},
        "summary": summary,
        "pooled": {"ua": 100.0},
        "confusion_matrix": np.diag([5, 4, 3, 2]).tolist(),
        "runs": runs,
    } | changes
    count = len(tested) * len(wa)
    labels = np.arange(count) % len(tested) % len(CLASSES)
    return results.Training(
        name=name,
        folder=pathlib.Path(f"cells/{name}"),
        report=described,
        epochs=[
            {"run": run, "loss": 1 / epoch, "wa": 50.0 + run, "ua": 40.0 + epoch}
            for run in range(len(wa))
            for epoch in (1, 2, 3)
        ],
        runs=np.repeat(np.arange(len(wa)), len(tested)),
        utterances=np.tile(tested, len(wa)),
        labels=labels,
        probabilities=np.eye(len(CLASSES))[np.ones(count, int)],
        groups={
            utterance: {"speaker": f"speaker {k}", "content": f"content {k}"}
            for k, utterance in enumerate(tested)
        },
        embedding=np.random.default_rng(0).normal(size=(len(tested), 8)),
        embedding_labels=labels[: len(tested)],
    )


PROVENANCE = {
    "versions": {"glam_jax": "0", "jax": "0"},
    "devices": "1 x cpu",
    "command": "python -m glam_jax.main",
    "commit": None,
    "data_digest": "0" * 64,
    "started": "now",
}


def describe(folder, config, ids, labels, speakers):
    """Claims a folder for a training on some utterances, and describes it there."""
    workdir.claim(folder, config)
    count, names = len(ids), tuple(labels_lib.label_set(config))
    sources = [input_pipeline.Source(None, 0, 1)] * count
    dataset = input_pipeline.Dataset(
        features=input_pipeline.Features(sources, (26, 57)),
        utterance=np.arange(count, dtype=np.int32),
        training=slice(0, count),
        testing=slice(0, count),
        labels=labels.astype(np.int32),
        ids=ids,
        groups=splits.Groups(speakers, speakers, ids, np.repeat("", count), ids),
        class_names=names,
    )
    outputs = workdir.Workdir(folder, names)
    outputs.describe(config, dataset, PROVENANCE)
    return outputs


def write(folder, wrong, tested=((0, 1, 2, 3), (4, 5, 6, 7)), **fields):
    """Writes a finished training of two epochs into a folder.

    There are eight utterances "u0", ..., of the four classes in turn and of two
    speakers each after the other, "s0" and "s1".

    Args:
      folder: The folder.
      wrong: The utterances that are taken for the next class.
      tested: The utterances that each run is tested on.
      **fields: Fields of the config, such as the model.
    """
    config = iemocap.get_config()
    config.update(num_epochs=2, **fields)
    ids = np.array([f"u{k}" for k in range(8)])
    speakers = np.array([f"s{k // 4}" for k in range(8)])
    outputs = describe(folder, config, ids, np.arange(8) % 4, speakers)
    for run, utterances in enumerate(map(np.array, tested)):
        labels = utterances % 4
        taken_for = (labels + np.isin(utterances, wrong)) % 4
        found = metrics.from_confusion(metrics.confusion_matrix(labels, taken_for, 4))
        for epoch in (1, 2):
            row = {"run": run, "seed": run, "fold": "", "epoch": epoch, "loss": 1.0}
            outputs.metrics.add(row | {"train_utterances": 4} | found)
        outputs.predictions.add(run, ids[utterances], labels, np.eye(4)[taken_for])
    shared = 0 if splits.protocol(config.protocol).never_shared else 1
    both_sides = {"speaker": {"shared": shared, "tested": 1}}
    outputs.end("later")
    report.write(folder, SPLITS | {"both_sides": both_sides})
    return folder
