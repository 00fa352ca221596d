"""The report of a finished training, from the files in its folder."""

import json
import pathlib

import numpy as np

from glam_jax import metrics, results, splits, tables, workdir
from glam_jax.splits import labels, leakage

MARKDOWN = "report.md"
# The fields of a config that report.md tells.
RECIPE = (
    "batch_size",
    "num_epochs",
    "optimizer",
    "learning_rate",
    "schedule",
    "learning_rate_decay",
    "weight_decay",
    "mixup_alpha",
    "class_weights",
    "upsampling",
    "dtype",
)


def write(folder: pathlib.Path, splits_used: dict) -> dict:
    """Writes report.md, the figures and, last, report.json.

    Args:
      folder: The folder of the training.
      splits_used: What report.json says of the splits: 'file' (a split file that was
        given), 'sha256' of splits.csv, 'both_sides' (see `leakage.measure`) and
        'warnings' (see `gaps.find`).

    Returns:
      What report.json holds.
    """
    config = json.loads((folder / "config.json").read_text())
    class_names = list(labels.label_set(config))
    outputs = workdir.Workdir(folder, tuple(class_names))
    report = summarise(config, outputs, class_names) | {
        "splits": splits_used,
        "recipe": {field: config[field] for field in RECIPE},
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
    protocol = splits.protocol(config["protocol"])
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
        for name, selection in _selections(protocol).items():
            row = metrics.selected(rows, selection)
            run[name] = {key: row[key] for key in ("epoch", *metrics.NAMES)}
        runs.append(run)
    pooled = np.sum(matrices, axis=0)
    ratio = metrics.test_train_ratio(runs)
    return {
        "corpus": config["corpus"],
        "tfds_splits": config["tfds_splits"],
        "model": config["model"],
        "protocol": config["protocol"],
        "selection": protocol.selection,
        "num_epochs": config["num_epochs"],
        "classes": class_names,
        "summary": {
            name: {
                measure: metrics.summarise([r[name][measure] for r in runs], ratio)
                for measure in metrics.NAMES
            }
            for name in _selections(protocol)
        },
        "pooled": metrics.from_confusion(pooled),
        "calibration_error": metrics.calibration_error(
            *(np.concatenate(parts) for parts in zip(*predictions, strict=True))
        ),
        "confusion_matrix": pooled.tolist(),
        "runs": runs,
    }


def _selections(protocol: splits.Protocol) -> dict[str, str]:
    return {"selected": protocol.selection, "last": "last", "best_on_test": "test"}


def title(report: dict) -> str:
    """One line that names the training."""
    count = len(report["runs"])
    return (
        f"{report['model']} on {results.subject(report)}, {count} "
        f"run{'s' if count > 1 else ''} of {report['num_epochs']} epochs"
    )


def table(report: dict) -> str:
    """The table of results: mean ± sd and 95 % interval over the runs, as Markdown.

    The epoch that the protocol reports comes first, then the others.
    """
    lines = []
    for name, selection in _selections(splits.protocol(report["protocol"])).items():
        description = tables.SELECTIONS[selection]
        if name == "selected":
            description = f"**reported: {description}**"
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
    return tables.render(lines)


def markdown(report: dict) -> str:
    """The whole report.md."""
    names = report["classes"]
    pooled = [f"{metrics.TITLES[n]} {report['pooled'][n]:.2f}" for n in metrics.NAMES]
    confusion = [
        {"": name} | {key: str(count) for key, count in zip(names, row, strict=True)}
        for name, row in zip(names, report["confusion_matrix"], strict=True)
    ]
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
        f"# {title(report)}",
        "In percent: mean ± standard deviation over the n runs (± half the 95 % "
        "interval of the mean, which allows for runs that share data: Nadeau & Bengio "
        "2003).",
        table(report),
        f"All test utterances of all runs together: {', '.join(pooled)}; expected "
        f"calibration error {report['calibration_error']:.2f} %.",
        f"Splits: {leakage.describe(report['splits']['both_sides'])}; SHA-256 of "
        f"splits.csv {report['splits']['sha256']}.",
        *[f"**Warning: {warning}.**" for warning in report["splits"]["warnings"]],
        "## Confusion matrix",
        "Utterances of all runs; a row is a true class, a column a prediction.",
        tables.render(confusion),
        "## Runs",
        tables.render(runs),
        "## How it was made",
        tables.render([{"": key, "value": value} for key, value in origin(report)]),
    ]
    return "\n\n".join(blocks) + "\n"


def origin(report: dict) -> list[tuple[str, str]]:
    """What a result needs to be told with: data, splits, recipe, versions, machine."""
    made, used = report["provenance"], report["runs"]
    trained = sorted({run["train_utterances"] for run in used})
    tested = sorted({run["test_utterances"] for run in used})
    seen = report["features"]
    return [
        ("data", results.subject(report)),
        ("data digest", made["data_digest"]),
        ("training utterances of a run", " to ".join(map(str, _ends(trained)))),
        ("test utterances of a run", " to ".join(map(str, _ends(tested)))),
        ("split file", report["splits"]["file"] or "none"),
        (
            "features",
            f"{seen['kind']} {seen['shape'][0]} x {seen['shape'][1]} of segments of "
            f"{seen['segment']} samples, every {seen['hop']} in tests, "
            f"{seen['pad_mode']}",
        ),
        ("recipe", ", ".join(f"{k} {v}" for k, v in report["recipe"].items())),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
        ("devices", made["devices"]),
        ("commit", made["commit"] or "not a checkout"),
        ("command", made["command"]),
        ("time (UTC)", f"{made['started']} to {made['ended']}"),
    ]


def _ends(values: list[int]) -> list[int]:
    return values[:: max(len(values) - 1, 1)]


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
