r"""Figures of one or several finished trainings, side by side, as PNG and PDF.

  python -m glam_jax.figures runs/emodb_train_glam_paper runs/emodb_train_mhcnn_paper

Writes to --out: confusion (matrices), curves (loss, WA and UA by epoch), embedding
(t-SNE of the classifier's inputs, the paper's figure 3) and reliability (how often
predictions of some confidence are right, with the expected calibration error).
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import threadpoolctl
from absl import app, flags

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot as plt
from matplotlib import ticker
from sklearn import manifold

from glam_jax import metrics, workdir

PANEL = 4.2  # inches
COLORS = plt.get_cmap("tab10").colors


@dataclasses.dataclass(frozen=True)
class Training:
    """A finished training as the figures see it.

    Attributes:
      name: its panel's title.
      report: what report.json holds.
      rows: of metrics.jsonl.
      labels: (utterances,) true labels of all runs' predictions.
      probabilities: (utterances, classes).
      embedding: (utterances, features) of the test utterances of run 0; without rows
        where the network names no embedding.
      embedding_labels: (utterances,) int32.
    """

    name: str
    report: dict
    rows: list[dict[str, Any]]
    labels: np.ndarray
    probabilities: np.ndarray
    embedding: np.ndarray
    embedding_labels: np.ndarray


def read(folder: pathlib.Path, report: dict) -> Training:
    """Reads what a finished training left in its folder.

    Args:
      folder: of the training.
      report: what its report.json holds or will hold.
    """
    files = workdir.Workdir(folder, tuple(report["classes"]))
    predictions = [files.predictions.of_run(run) for run in files.predictions.runs()]
    embedding, embedding_labels = np.zeros((0, 0)), np.zeros(0)
    if (folder / workdir.EMBEDDING).exists():
        with np.load(folder / workdir.EMBEDDING) as saved:  # allow_pickle is off
            embedding, embedding_labels = saved["features"], saved["labels"]
    return Training(
        name=report["model"],
        report=report,
        rows=files.metrics.rows,
        labels=np.concatenate([labels for labels, _ in predictions]),
        probabilities=np.concatenate([values for _, values in predictions]),
        embedding=embedding,
        embedding_labels=embedding_labels,
    )


def write(folder: pathlib.Path, trainings: Sequence[Training]) -> None:
    """Writes all figures of some trainings into a folder, as PNG and PDF.

    Args:
      folder: is made if it is not there.
      trainings: side by side, in this order.

    Raises:
      ValueError: when the trainings told different emotions apart.
    """
    classes = {tuple(training.report["classes"]) for training in trainings}
    if len(classes) > 1:
        raise ValueError(f"these trainings have different classes: {classes}")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [confusion, curves, reliability]
    if any(len(training.embedding) for training in trainings):
        drawn.append(embedding)
    for draw in drawn:
        figure = draw(trainings)
        for suffix in ("png", "pdf"):
            figure.savefig(folder / f"{draw.__name__}.{suffix}", dpi=150)
        plt.close(figure)


def confusion(trainings: Sequence[Training]) -> plt.Figure:
    """Confusion matrices: percent of the true class, and counts over all runs."""
    figure, panels = _panels(trainings)
    for axes, training in zip(panels, trainings, strict=True):
        matrix = np.array(training.report["confusion_matrix"])
        percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        for i, j in np.ndindex(matrix.shape):
            axes.text(
                j,
                i,
                f"{percent[i, j]:.1f}\n({matrix[i, j]})",
                ha="center",
                va="center",
                fontsize=min(10, 48 / len(matrix)),
                color="white" if percent[i, j] > 55 else "black",
            )
        names = training.report["classes"]
        many = len(names) > 4
        axes.set_xticks(range(len(names)), names, rotation=90 if many else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
    panels[0].set_ylabel("true")
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.8)
    return figure


def curves(trainings: Sequence[Training]) -> plt.Figure:
    """Training loss, test WA and test UA by epoch: mean over runs, and ± sd."""
    figure, panels = plt.subplots(
        1, 3, figsize=(3 * PANEL, PANEL), layout="constrained"
    )
    titles = {"loss": "training loss", "wa": "test WA (%)", "ua": "test UA (%)"}
    for axes, (measure, label) in zip(panels, titles.items(), strict=True):
        for color, training in zip(_colors(trainings), trainings, strict=True):
            values = np.array(
                [
                    [row[measure] for row in training.rows if row["run"] == run["run"]]
                    for run in training.report["runs"]
                ]
            )  # (runs, epochs)
            epochs = np.arange(1, values.shape[1] + 1)
            mean = values.mean(axis=0)
            axes.plot(epochs, mean, ".-", color=color, label=training.name)
            if len(values) > 1:
                sd = values.std(axis=0, ddof=1)
                axes.fill_between(
                    epochs, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0
                )
        axes.set_xlabel("epoch")
        axes.set_title(label)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panels[0].legend()
    counts = sorted({len(training.report["runs"]) for training in trainings})
    figure.suptitle(
        f"{_subjects(trainings)}; mean ± sd over {' or '.join(map(str, counts))} runs"
    )
    return figure


def embedding(trainings: Sequence[Training]) -> plt.Figure:
    """t-SNE of the classifier's inputs: the test utterances of the first run."""
    figure, panels = _panels(trainings, "t-SNE of test utterances, run 0")
    for axes, training in zip(panels, trainings, strict=True):
        features = training.embedding
        points = np.zeros((len(features), 2))  # of too few for t-SNE
        if len(features) > 3:
            perplexity = min(30, (len(features) - 1) / 3)
            tsne = manifold.TSNE(perplexity=perplexity, random_state=0)
            with threadpoolctl.threadpool_limits(1):  # JAX's threads stand in their way
                points = tsne.fit_transform(features)
        for label, name in enumerate(training.report["classes"]):
            of_class = points[training.embedding_labels == label]
            axes.scatter(*of_class.T, s=14, color=COLORS[label], label=name)
        axes.set_xticks([])
        axes.set_yticks([])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center")
    return figure


def reliability(trainings: Sequence[Training]) -> plt.Figure:
    """How often the predictions of each confidence are right, over all runs."""
    figure, panels = _panels(trainings)
    for axes, training in zip(panels, trainings, strict=True):
        bins = metrics.calibration(training.labels, training.probabilities)
        axes.plot([0, 1], [0, 1], color="gray", linestyle="--", label="calibrated")
        filled = bins["count"] > 0
        share = bins["count"] / bins["count"].max()
        axes.bar(
            bins["left"][filled],
            bins["accuracy"][filled],
            width=0.1,
            align="edge",
            edgecolor="white",
            color=[(*COLORS[0][:3], 0.3 + 0.7 * part) for part in share[filled]],
            label="accuracy (darker: more)",
        )
        axes.scatter(
            bins["confidence"][filled],
            bins["accuracy"][filled],
            s=16,
            color="black",
            zorder=3,
            label="mean of a bin",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence")
        error = metrics.calibration_error(training.labels, training.probabilities)
        axes.set_title(f"{training.name}, calibration error {error:.1f} %")
    panels[0].set_ylabel("accuracy")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    return figure


def _panels(
    trainings: Sequence[Training], what: str = ""
) -> tuple[plt.Figure, np.ndarray]:
    """A panel for each training, with its name, below what they have in common."""
    figure, panels = plt.subplots(
        1,
        len(trainings),
        figsize=(PANEL * len(trainings) + 1.2, PANEL + 0.4),
        layout="constrained",
        squeeze=False,
    )
    for axes, training in zip(panels[0], trainings, strict=True):
        axes.set_title(training.name)
    subjects = _subjects(trainings)
    figure.suptitle(f"{what}\n{subjects}" if what else subjects, fontsize=11)
    return figure, panels[0]


def subject(report: dict) -> str:
    """What was trained on, and how it was split: 'emodb, protocol paper'."""
    corpus = report["corpus"]
    if report["tfds_splits"] != ["train"]:
        corpus += " " + "+".join(report["tfds_splits"])
    return f"{corpus}, protocol {report['protocol']}"


def _subjects(trainings: Sequence[Training]) -> str:
    subjects = [subject(training.report) for training in trainings]
    return "; ".join(dict.fromkeys(subjects))


def _colors(trainings: Sequence[Training]) -> list:
    return [COLORS[number % len(COLORS)] for number in range(len(trainings))]


def main(argv: list[str]) -> None:
    folders = [pathlib.Path(name) for name in argv[1:]]
    if not folders:
        sys.exit("error: name the folders of one or more finished trainings")
    try:
        trainings = []
        for folder in folders:
            if not (folder / workdir.REPORT).is_file():
                raise ValueError(
                    f"{folder} holds no finished training (no report.json)"
                )
            report = json.loads((folder / workdir.REPORT).read_text())
            trainings.append(read(folder, report))
        names = [training.name for training in trainings]
        if len(set(names)) < len(names):
            trainings = [
                dataclasses.replace(training, name=folder.name)
                for training, folder in zip(trainings, folders, strict=True)
            ]
        write(pathlib.Path(flags.FLAGS.out), trainings)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(
        f"confusion, curves, embedding and reliability (png, pdf) in {flags.FLAGS.out}"
    )


if __name__ == "__main__":
    flags.DEFINE_string("out", "figures", "Folder that receives the figures.")
    app.run(main)
