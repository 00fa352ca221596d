"""Figures of one or several finished trainings, side by side, as PNG and PDF."""

import os
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
import threadpoolctl

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot as plt
from matplotlib import ticker
from sklearn import manifold

from glam_jax import metrics
from glam_jax.results import Training, subjects

PANEL = 4.2  # inches
COLUMNS = 4  # panels side by side, at most
COLORS = matplotlib.color_sequences["tab10"]


def write(folder: pathlib.Path, trainings: Sequence[Training]) -> None:
    """Writes all figures of some trainings into a folder, as PNG and PDF.

    They are confusion (matrices), curves (loss, WA and UA by epoch), embedding (t-SNE
    of the classifier's inputs, the paper's figure 3; not where no network names them)
    and reliability (how often predictions of some confidence are right, with the
    expected calibration error).

    Args:
      folder: It is made if it is not there.
      trainings: They stand side by side, in this order.

    Raises:
      ValueError: When the trainings told different emotions apart.
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
        # Laid out once, not twice for each format: that took 40 % of the time.
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        for suffix in ("png", "pdf"):
            path = folder / f"{draw.__name__}.{suffix}"
            temporary = path.with_name(f".{path.name}.incomplete")
            figure.savefig(temporary, format=suffix, dpi=150)
            os.replace(temporary, path)
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
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("true")
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
            of_runs = [
                [row[measure] for row in training.epochs if row["run"] == run["run"]]
                for run in training.report["runs"]
            ]
            values = np.array(of_runs)  # (runs, epochs)
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
        f"{subjects(trainings)}; mean ± sd over {' or '.join(map(str, counts))} runs"
    )
    return figure


def embedding(trainings: Sequence[Training]) -> plt.Figure:
    """t-SNE of the classifier's inputs: the test utterances of the first run."""
    trainings = [training for training in trainings if len(training.embedding)]
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
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("accuracy")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    return figure


def _panels(
    trainings: Sequence[Training], what: str = ""
) -> tuple[plt.Figure, np.ndarray]:
    """A panel for each training, with its name, below what they have in common."""
    columns = min(len(trainings), COLUMNS)
    rows = -(-len(trainings) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(PANEL * columns + 1.2, PANEL * rows + 0.4),
        layout="constrained",
        squeeze=False,
    )
    for axes in panels.flat[len(trainings) :]:
        axes.remove()
    panels = panels.flat[: len(trainings)]
    for axes, training in zip(panels, trainings, strict=True):
        axes.set_title(training.name)
    common = subjects(trainings)
    figure.suptitle(f"{what}\n{common}" if what else common, fontsize=11)
    return figure, panels


def _colors(trainings: Sequence[Training]) -> list:
    return [COLORS[number % len(COLORS)] for number in range(len(trainings))]
