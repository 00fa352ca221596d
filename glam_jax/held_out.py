"""What a recipe reaches on speakers that were not heard, beside a model of all."""

import pathlib
from collections.abc import Mapping
from typing import Any

from glam_jax import results, tables
from glam_jax.splits import leakage

# What must be equal in the reports of a model and of the training that measures it.
_SAME = ("corpus", "tfds_splits", "classes", "model", "num_epochs", "recipe")


def measured(folder: pathlib.Path, report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Figures of a training that left speakers out, for a model of the same recipe.

    Args:
      folder: The folder of that training.
      report: What the model's report.json holds, None where there is none.

    Returns:
      'protocol', 'runs' and 'folds', 'utterances' that were tested, 'trained' (the
      fewest and the most utterances that a run was trained on), 'wa' and 'ua' (see
      `metrics.summarise`), 'recall' of each class over all runs in percent, and
      'command'.

    Raises:
      ValueError: When it has another recipe, or heard speakers that it tests.
    """
    if report is None:
        raise ValueError(
            f"--held_out={folder}: the model has no {results.REPORT}, so that its "
            "recipe cannot be compared; give the --workdir of a training as MODEL"
        )
    found = results.read_report(folder)
    if other := [name for name in _SAME if found[name] != report[name]]:
        raise ValueError(
            f"--held_out={folder} is a training with another {', '.join(other)}; "
            "measure the model's own: the same command with --config.protocol=speaker"
        )
    if leakage.heard(found["splits"]["both_sides"]) is not False:
        raise ValueError(
            f"--held_out={folder} was tested on speakers that it was trained on, or on "
            "unknown ones; measure with --config.protocol=speaker"
        )
    trained = [run["train_utterances"] for run in found["runs"]]
    tested = sum(run["test_utterances"] for run in found["runs"])
    runs = len(found["runs"])
    folds = len({run["fold"] or run["run"] for run in found["runs"]})
    return {
        "protocol": found["protocol"],
        "runs": runs,
        "folds": folds,
        "utterances": round(tested * folds / runs),
        "trained": [min(trained), max(trained)],
        **{name: found["summary"]["selected"][name] for name in ("wa", "ua")},
        "recall": {
            name: 100 * row[index] / sum(row)
            for index, (name, row) in enumerate(
                zip(found["classes"], found["confusion_matrix"], strict=True)
            )
            if sum(row)
        },
        "command": found["provenance"]["command"],
    }


def figures(found: Mapping[str, Any]) -> str:
    """'accuracy (WA) 78.61 ± 11.33 %, mean recall (UA) 77.12 ± 10.82 % (...)'.

    Args:
      found: What `measured` gave.
    """
    runs = found["runs"]
    folds = found.get("folds", runs)  # not told by an earlier version
    over = f"{folds} folds" if folds == runs else f"{runs} runs of {folds} folds"
    return (
        f"accuracy (WA) {tables.mean_sd(found['wa'])} %, mean recall (UA) "
        f"{tables.mean_sd(found['ua'])} % (mean ± sd over {over}, "
        f"{found['utterances']} utterances)"
    )
