"""The report of a finished training, from the files in its folder."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from configs import base
from glam_jax import (
    by_corpus,
    markup,
    metrics,
    provenance,
    results,
    splits,
    tables,
    workdir,
)
from glam_jax.splits import labels, leakage

MARKDOWN = "report.md"
# The fields of a config that make a recipe; report.md tells them.
RECIPE = (
    "features",
    "segment",
    "hop",
    "test_hop",
    "pad_mode",
    "batch_size",
    "num_epochs",
    "optimizer",
    "momentum",
    "learning_rate",
    "schedule",
    "learning_rate_decay",
    "decay_epochs",
    "warmup_epochs",
    "weight_decay",
    "mixup_alpha",
    "class_weights",
    "upsampling",
    "dtype",
)
# Those that are told where they are in use.
_OPTIONAL = ("ema", "label_smoothing", "frontend", "short", "normalise")


def write(
    folder: pathlib.Path, splits_used: dict, told: Mapping[str, Any] | None = None
) -> dict:
    """Writes report.md, the figures and, last, report.json.

    Args:
      folder: The folder of the training.
      splits_used: What report.json says of the splits: 'file' (a split file that was
        given) and its 'file_sha256', 'sha256' of splits.csv, 'utterances' (see
        `runs.utterances`), 'both_sides' (see `leakage.measure`) and 'warnings' (see
        `gaps.find`).
      told: The recipe, where it is none of a network.

    Returns:
      What report.json holds.
    """
    config = workdir.read_config(folder)
    class_names = list(labels.label_set(config))
    outputs = workdir.Workdir(folder, tuple(class_names))
    report = summarise(config, outputs, class_names) | {
        "splits": splits_used,
        "recipe": told or recipe(config),
        "recipe_of_model": told or recipe(base.get_config(f"model={config['model']}")),
        "features": outputs.model["features"],
        "provenance": outputs.model["provenance"],
    }
    workdir.write_atomically(folder / MARKDOWN, markdown(report))
    from glam_jax import figures  # importing matplotlib takes seconds

    figures.write(folder, [results.read(folder, report)])
    text = json.dumps(report, indent=2) + "\n"
    outputs.seal(text)
    workdir.write_atomically(folder / results.REPORT, text)
    return report


def summarise(config: dict, outputs: workdir.Workdir, class_names: list[str]) -> dict:
    """Gathers the numbers of all runs: what report.json holds."""
    selection = splits.protocol(config["protocol"]).selection
    selection = metrics.effective(selection, outputs.metrics.rows[0])
    runs, matrices, predictions = [], [], []
    for number in outputs.predictions.runs():
        labels, probabilities = outputs.predictions.of_run(number)
        predictions.append((labels, probabilities))
        matrix = metrics.confusion_matrix(
            labels, probabilities.argmax(axis=1), len(class_names)
        )
        matrices.append(matrix)
        rows = outputs.metrics.of_run(number)
        keys = ("run", "seed", "fold", "train_utterances")
        run = {key: rows[0][key] for key in keys}
        run["test_utterances"] = len(labels)
        run["confusion_matrix"] = matrix.tolist()
        for name, of_epoch in _selections(selection).items():
            row = metrics.selected(rows, of_epoch)
            run[name] = {key: row[key] for key in ("epoch", *metrics.NAMES)}
        runs.append(run)
    pooled = np.sum(matrices, axis=0)
    ratio = metrics.test_train_ratio(runs)
    return {
        "corpus": config["corpus"],
        "tfds_splits": config["tfds_splits"],
        "model": config["model"],
        "protocol": config["protocol"],
        "selection": selection,
        "num_epochs": config["num_epochs"],
        "classes": class_names,
        "summary": {
            name: {
                measure: metrics.summarise([r[name][measure] for r in runs], ratio)
                for measure in metrics.NAMES
            }
            for name in _selections(selection)
        },
        "pooled": metrics.from_confusion(pooled),
        "corpora": by_corpus.measure(
            config["corpus"], outputs.predictions, runs, len(class_names)
        ),
        "calibration_error": metrics.calibration_error(
            *(np.concatenate(parts) for parts in zip(*predictions, strict=True))
        ),
        "confusion_matrix": pooled.tolist(),
        "runs": runs,
    }


def recipe(config: ml_collections.ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that make its recipe, without those of no effect."""
    without = set()
    if config["optimizer"] != "sgd":
        without.add("momentum")
    if config["schedule"] != "step":
        without.add("decay_epochs")
    if config["schedule"] == "cosine":
        without.add("learning_rate_decay")
    told = {field: config[field] for field in RECIPE if field not in without}
    told |= {field: config[field] for field in _OPTIONAL}
    told |= {f"augment.{name}": value for name, value in config["augment"].items()}
    return {
        field: value
        for field, value in told.items()
        if field in RECIPE or value not in (0, "", "none")
    }


def _selections(selection: str) -> dict[str, str]:
    return {"selected": selection, "last": "last", "best_on_test": "test"}


def title(report: dict) -> str:
    """One line that names the training: model, data, what was used, and how long."""
    count = len(report["runs"])
    model = results.marked(report["model"], report)
    return (
        f"{model} on {results.subject(report)}, {count} "
        f"run{'s' if count > 1 else ''} of {report['num_epochs']} epochs; "
        f"{results.utterances(report['splits']['utterances'])}"
    )


def table(report: dict) -> str:
    """The table of results: mean ± sd and 95 % interval over the runs, as Markdown.

    The epoch that the protocol reports comes first, then the others.
    """
    lines = []
    for name, selection in _selections(report["selection"]).items():
        description = results.SELECTIONS[selection]
        if name == "selected":
            description = markup.Bold(f"reported: {description}")
        elif selection == report["selection"]:
            continue
        summary = report["summary"][name]
        line = {"epoch": description}
        for measure in metrics.NAMES:
            of_measure = summary[measure]
            line[metrics.TITLES[measure]] = tables.mean_sd(of_measure)
            if of_measure["ci95"] is not None:
                line[metrics.TITLES[measure]] += f" (± {of_measure['ci95']:.2f})"
        lines.append(line | {"n": str(summary["wa"]["n"])})
    return markup.markdown(lines)


def markdown(report: dict) -> str:
    """The whole report.md."""
    runs = [
        {
            "run": str(run["run"]),
            "seed": str(run["seed"]),
            "fold": run["fold"] or "-",
            "utterances": str(run["test_utterances"]),
            "epoch": str(run["selected"]["epoch"]),
            "WA": f"{run['selected']['wa']:.2f}",
            "UA": f"{run['selected']['ua']:.2f}",
            "last WA": f"{run['last']['wa']:.2f}",
            "last UA": f"{run['last']['ua']:.2f}",
        }
        for run in report["runs"]
    ]
    blocks = [
        f"# {markup.markdown_text(title(report))}",
        markup.markdown_text(
            f"Features: {_features(report)}. Recipe: {_recipe(report)}. Made with "
            f"glam_jax {report['provenance']['versions']['glam_jax']} on "
            f"{report['provenance']['devices']}."
        ),
        "In percent: mean ± standard deviation over the n runs (± half the 95 % "
        "interval of the mean, which allows for runs that share data: Nadeau & Bengio "
        "2003).",
        table(report),
        *(
            ["By corpus, at the epoch reported:", by_corpus.table(report)]
            if report["corpora"]
            else []
        ),
        pooled(report),
        f"Splits: {leakage.describe(report['splits']['both_sides'])}; SHA-256 of "
        f"splits.csv {report['splits']['sha256']}.",
        *[
            f"**Warning: {markup.markdown_text(warning)}.**"
            for warning in report["splits"]["warnings"]
        ],
        confusion(report),
        "## Runs",
        markup.markdown(runs),
        "## How it was made",
        markup.markdown([{"": key, "value": value} for key, value in origin(report)]),
    ]
    return "\n\n".join(blocks) + "\n"


def pooled(report: dict) -> str:
    """A sentence on the test utterances of all runs together."""
    found = [f"{metrics.TITLES[n]} {report['pooled'][n]:.2f}" for n in metrics.NAMES]
    return (
        f"All test utterances of all runs together: {', '.join(found)}; expected "
        f"calibration error {report['calibration_error']:.2f} %."
    )


def confusion(report: dict) -> str:
    """The part of report.md with the confusion matrix."""
    names = report["classes"]
    lines = [
        {"": name} | {key: str(count) for key, count in zip(names, row, strict=True)}
        for name, row in zip(names, report["confusion_matrix"], strict=True)
    ]
    return "\n\n".join(
        [
            "## Confusion matrix",
            "Utterances of all runs; a row is a true class, a column a prediction.",
            markup.markdown(lines),
        ]
    )


def origin(report: dict) -> list[tuple[str, str]]:
    """What a result needs to be told with: data, splits, recipe, versions, machine."""
    made, used = report["provenance"], report["splits"]
    file = f"{used['file']}, SHA-256 {used['file_sha256']}" if used["file"] else "none"
    return [
        ("data", results.subject(report)),
        ("data digest", made["data_digest"]),
        ("utterances of a run", results.utterances(used["utterances"])),
        ("split file", file),
        ("features", _features(report)),
        ("recipe", _recipe(report)),
        ("dtype", report["recipe"]["dtype"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
        ("devices", made["devices"]),
        ("commit", made["commit"] or "not a checkout"),
        ("command", made["command"]),
        *provenance.earlier_parts(made),
        ("time (UTC)", f"{made['started']} to {made['ended']}"),
    ]


def _features(report: dict) -> str:
    seen = report["features"]
    return (
        f"{seen['kind']} {seen['shape'][0]} x {seen['shape'][1]} of segments of "
        f"{seen['segment']} samples, every {report['recipe']['hop']} in training and "
        f"{seen['hop']} in tests, {seen['pad_mode']}"
    )


def _recipe(report: dict) -> str:
    """The recipe in one line, with what differs from the one published for the model.

    The features, which are part of it, are told only where they differ.
    """
    ours, own = report["recipe"], report["recipe_of_model"]
    untold = (*RECIPE[: RECIPE.index("batch_size")], "dtype")
    line = ", ".join(f"{key} {ours[key]}" for key in ours if key not in untold)
    whose = "GLAM" if ":" in report["model"] else report["model"]
    differences = [
        f"{key} {ours[key]} (not {own.get(key, 'used')})"
        for key in ours
        if ours[key] != own.get(key)
    ]
    off = [key for key in own if key not in ours and key not in RECIPE]
    differences += [f"no {key} (not {own[key]})" for key in off]
    if not differences:
        return f"{line}: the recipe of {whose}"
    return f"{line}; it differs from the recipe of {whose} in {', '.join(differences)}"


def save_embedding(
    folder: pathlib.Path, features: np.ndarray, labels: np.ndarray
) -> None:
    """Keeps the classifier's inputs for t-SNE, as their first 50 principal components.

    Args:
      folder: The folder of the training.
      features: (utterances, features).
      labels: (utterances,).
    """
    from sklearn import decomposition  # importing it takes a second

    components = min(50, *features.shape)
    reduced = decomposition.PCA(components, svd_solver="full").fit_transform(features)
    np.savez(
        folder / results.EMBEDDING, features=reduced.astype(np.float32), labels=labels
    )
