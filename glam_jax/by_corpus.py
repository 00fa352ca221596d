"""The result of a training on several corpora, told for each of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from glam_jax import markup, metrics, tables, workdir


def measure(
    corpus: str,
    predictions: workdir.Predictions,
    runs: Sequence[dict[str, Any]],
    num_classes: int,
) -> dict[str, dict[str, Any]]:
    """Measures the test utterances of each corpus apart, at the epoch reported.

    Args:
      corpus: What the config trains on, 'emodb+emovo'.
      predictions: Those of all runs.
      runs: What report.json says of each run.
      num_classes: Classes of the training.

    Returns:
      For each corpus 'summary' (over the runs that test it, see `metrics.summarise`),
      'pooled' and 'confusion_matrix' of all runs; {} for a single corpus.
    """
    names = corpus.split("+")
    if len(names) < 2:
        return {}
    told = {}
    for name in names:
        matrices, ratios = [], []
        for run in runs:
            labels, probabilities = predictions.of_run(run["run"])
            ids = [row[0] for row in predictions.rows_of(run["run"])]
            own = np.array([id_.startswith(f"{name}/") for id_ in ids])
            if own.any():
                predicted = probabilities[own].argmax(axis=1)
                matrices.append(
                    metrics.confusion_matrix(labels[own], predicted, num_classes)
                )
                ratios.append(int(own.sum()) / run["train_utterances"])
        if not matrices:
            continue
        of_runs = [metrics.from_confusion(matrix) for matrix in matrices]
        ratio = float(np.mean(ratios))
        pooled = np.sum(matrices, axis=0)
        told[name] = {
            "summary": {
                m: metrics.summarise([run[m] for run in of_runs], ratio)
                for m in metrics.NAMES
            },
            "pooled": metrics.from_confusion(pooled),
            "confusion_matrix": pooled.tolist(),
        }
    return told


def table(report: dict[str, Any]) -> str:
    """Mean ± sd over the runs that test a corpus, as Markdown; '' for one corpus."""
    lines = []
    for name, told in report.get("corpora", {}).items():
        of_runs, count = told["summary"], int(np.sum(told["confusion_matrix"]))
        line = {"corpus": name, "test utterances": str(count)}
        for measure in metrics.NAMES:
            line[metrics.TITLES[measure]] = tables.mean_sd(of_runs[measure])
        line["UA of all together"] = f"{told['pooled']['ua']:.2f}"
        lines.append(line | {"n": str(of_runs["wa"]["n"])})
    return markup.markdown(lines) if lines else ""
