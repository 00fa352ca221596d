"""Figures of one or several finished trainings, side by side, as PNG and PDF.

They are made for print: as wide as a column (one training) or a page (several), in 8
point text, and readable in grey and to the colour-blind: what a colour says, a marker
or a line style says too.
"""

import functools
import io
import os
import pathlib
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import threadpoolctl
from matplotlib import artist, patches, ticker
from matplotlib import axes as axes_lib
from matplotlib import figure as figure_lib
from sklearn import manifold

from data_prep import text
from glam_jax import metrics
from glam_jax.results import Training, epoch, subjects

COLUMN, PAGE = 3.4, 7.0  # inches, the widths of IEEE's pages
POINTS = 72  # in an inch
LETTER = 4.7  # points, the mean width of a letter of 8 points
# Okabe & Ito's colours without yellow, and as many markers as the paper has models.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "os^DvP*X<>"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "legend.handlelength": 2.5,
    "legend.columnspacing": 1.0,
    "pdf.fonttype": 42,  # TrueType: what publishers take
    "ps.fonttype": 42,
    "text.parse_math": False,  # a $ in a name is a dollar
}
_styled = matplotlib.rc_context(STYLE)


def write(folder: pathlib.Path, trainings: Sequence[Training]) -> None:
    """Writes all figures of some trainings into a folder, as PNG and PDF.

    They are confusion (matrices), curves (loss, WA and UA by epoch; not of models that
    are tested after their training), embedding (t-SNE of the classifier's inputs, the
    paper's figure 3; not where no network names them) and reliability (how often
    predictions of some confidence are right, with the expected calibration error).

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
    drawn = [confusion, reliability]
    if not any("evaluation" in training.report for training in trainings):
        drawn.append(curves)
    if any(len(training.embedding) for training in trainings):
        drawn.append(embedding)
    for draw in drawn:
        figure = draw(trainings)
        save(figure, folder / draw.__name__)


@_styled
def save(figure: figure_lib.Figure, path: pathlib.Path) -> None:
    """Writes a figure as PATH.png and PATH.pdf, equal figures as equal bytes."""
    # Laid out once, not twice for each format: that took 40 % of the time.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for suffix, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        temporary = path.with_name(f".{path.name}.{suffix}.incomplete")
        figure.savefig(temporary, format=suffix, dpi=300, metadata=metadata)
        os.replace(temporary, path.with_name(f"{path.name}.{suffix}"))


@_styled
def png(figure: figure_lib.Figure) -> bytes:
    """A figure as the bytes of a PNG file for a screen."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return file.getvalue()


@_styled
def confusion(trainings: Sequence[Training]) -> figure_lib.Figure:
    """Confusion matrices: percent of the true class, and counts over all runs."""
    names = [text.printable(name) for name in trainings[0].report["classes"]]
    matrices = [np.array(training.report["confusion_matrix"]) for training in trainings]
    cell = POINTS * (_width(len(trainings)) - 0.9) / len(names)  # points
    digits = max(len(str(matrix.max())) for matrix in matrices)
    with_counts = LETTER * (digits + 2) < cell
    decimals = int(with_counts and cell > LETTER * 5)
    what = "% of the true class" + with_counts * " (and utterances)"
    panels = _Panels(trainings, 0.8, what)
    for axes, training, matrix in zip(panels.axes, trainings, matrices, strict=True):
        percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for i, j in np.ndindex(matrix.shape):
            count = f"\n({matrix[i, j]})" if with_counts else ""
            axes.text(
                j,
                i,
                f"{percent[i, j]:.{decimals}f}{count}",
                ha="center",
                va="center",
                color="white" if percent[i, j] > 55 else "black",
            )
        longest = LETTER * max(map(len, names))
        rotation = 0 if longest < cell else 90
        axes.set_xticks(range(len(names)), names, rotation=rotation)
        axes.set_yticks(range(len(names)), names)
        panels.title(axes, training.name, f"n = {matrix.sum()}")
    panels.label(panels.axes, "predicted", "true")
    return panels.figure


@_styled
def crossed(
    names: Sequence[str], matrices: Mapping[str, np.ndarray], what: str
) -> figure_lib.Figure:
    """What models of some corpora reach on each of them; a frame is the diagonal.

    Args:
      names: The corpora.
      matrices: (trained, tested) of each measure in percent, NaN for what is not there.
      what: What the figure shows.
    """
    lines = textwrap.wrap(text.printable(what), int(PAGE * POINTS / LETTER))
    side = PAGE / len(matrices)
    height = 0.75 * side + 0.16 * len(lines)
    figure = figure_lib.Figure(figsize=(PAGE, height), layout="constrained")
    figure.suptitle("\n".join(lines))
    labels = [text.printable(name) for name in names]
    cell = POINTS * (side - 1.2) / len(names)  # points
    rotation = 0 if LETTER * max(map(len, labels)) < cell else 90
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (measure, matrix) in zip(panels, matrices.items(), strict=True):
        axes.imshow(matrix, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for i, j in np.ndindex(matrix.shape):
            value = matrix[i, j]
            shown = f"{value:.1f}" if cell > 5 * LETTER else f"{value:.0f}"
            axes.text(
                j,
                i,
                "-" if np.isnan(value) else shown,
                ha="center",
                va="center",
                color="white" if value > 55 else "black",
            )
        for k in range(len(names)):
            corner = (k - 0.46, k - 0.46)
            frame = patches.Rectangle(corner, 0.92, 0.92, fill=False, linewidth=1.2)
            axes.add_patch(frame)
        axes.set_xticks(range(len(names)), labels, rotation=rotation)
        axes.set_yticks(range(len(names)), labels)
        axes.set(title=f"{measure} (%)", xlabel="tested on")
    panels[0].set_ylabel("trained on")
    return figure


@_styled
def curves(trainings: Sequence[Training]) -> figure_lib.Figure:
    """Training loss, test WA and test UA by epoch: mean over runs, and ± sd.

    WA and UA share their axis, on which stand chance (a class drawn at random) and the
    WA of always naming the largest class.
    """
    counts = sorted({len(training.report["runs"]) for training in trainings})
    what = f"mean of {' or '.join(map(str, counts))} runs" if counts[-1] > 1 else ""
    if what and len(trainings) <= 4:
        what = what.replace("mean", "mean ± sd", 1)
    figure = _figure(trainings, 4.2 if len(trainings) == 1 else 3.0, what)
    if len(trainings) == 1:
        loss, accuracy = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        panels = {"loss": loss, "wa": accuracy, "ua": accuracy}
        accuracy.set_ylabel("test WA, UA (%)")
        accuracy.set_xlabel("epoch")
    else:
        loss, left, right = figure.subplots(1, 3)
        right.sharey(left)
        right.tick_params(labelleft=False)
        panels = {"loss": loss, "wa": left, "ua": right}
        left.set_ylabel("test WA (%)")
        right.set_ylabel("test UA (%)")
        for axes in (loss, left, right):
            axes.set_xlabel("epoch")
    for measure, axes in panels.items():
        for number, training in enumerate(trainings):
            if len(trainings) == 1:
                number = int(measure == "ua")
            _curve(axes, training, measure, number, len(trainings))
    _chance(panels, trainings)
    loss.set_ylabel("training loss")
    for axes in dict.fromkeys(panels.values()):
        axes.grid(alpha=0.3, linewidth=0.4)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    _legend(figure, [panels["wa"], panels["ua"]])
    return figure


def _curve(
    axes: axes_lib.Axes, training: Training, measure: str, number: int, count: int
) -> None:
    """Draws a measure of a training, one of `count`, in the style of its number."""
    of_runs = [
        [row[measure] for row in training.epochs if row["run"] == run["run"]]
        for run in training.report["runs"]
    ]
    values = np.array(of_runs)  # (runs, epochs)
    epochs = np.arange(1, values.shape[1] + 1)
    mean = values.mean(axis=0)
    name = text.printable(training.name)
    label = metrics.TITLES.get(measure) if count == 1 else name
    axes.plot(
        epochs,
        mean,
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        markevery=max(1, len(epochs) // 10),
        linestyle=("-", "--", "-.", ":")[number % 4],
        label=label,
    )
    if len(values) > 1 and count <= 4:  # more bands hide each other
        sd = values.std(axis=0, ddof=1)
        color = COLORS[number % len(COLORS)]
        axes.fill_between(
            epochs, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0
        )


def _chance(panels: dict[str, axes_lib.Axes], trainings: Sequence[Training]) -> None:
    """Lines of what needs no listening: drawing a class, and the most frequent one."""
    chance = 100 / len(trainings[0].report["classes"])
    shares = set()
    for training in trainings:
        true = np.array(training.report["confusion_matrix"]).sum(axis=1)
        shares.add(round(100 * float(true.max() / true.sum()), 1))
    for axes in dict.fromkeys([panels["wa"], panels["ua"]]):
        axes.axhline(
            chance, color="black", linewidth=0.7, linestyle=":", label="chance"
        )
    for share in shares:
        panels["wa"].axhline(
            share,
            color="dimgray",
            linewidth=0.7,
            linestyle=(0, (6, 2)),
            label="largest class (WA)",
        )


@_styled
def embedding(trainings: Sequence[Training]) -> figure_lib.Figure:
    """t-SNE of the classifier's inputs: the test utterances of the first run.

    A colour and marker is a true class; a ring is an utterance taken for another.
    """
    trainings = [training for training in trainings if len(training.embedding)]
    panels = _Panels(trainings, 0.85, "t-SNE of the test utterances of run 0")
    for axes, training in zip(panels.axes, trainings, strict=True):
        points = _tsne(training.embedding)
        labels = training.embedding_labels
        for label, name in enumerate(training.report["classes"]):
            axes.scatter(
                *points[labels == label].T,
                s=10,
                color=COLORS[label % len(COLORS)],
                marker=MARKERS[label % len(MARKERS)],
                linewidths=0,
                label=text.printable(name),
            )
        first = training.runs == training.runs.min()
        wrong = training.probabilities[first].argmax(axis=1) != labels
        axes.scatter(
            *points[wrong].T,
            s=34,
            facecolors="none",
            edgecolors="black",
            linewidths=0.6,
            label="taken for another",
        )
        axes.set_xticks([])
        axes.set_yticks([])
        panels.title(axes, training.name, f"n = {len(labels)}, {wrong.sum()} wrong")
    _legend(panels.figure, panels.axes[:1])
    return panels.figure


def _tsne(features: np.ndarray) -> np.ndarray:
    """(utterances, 2) of (utterances, features)."""
    if len(features) <= 3:  # too few for t-SNE
        return np.zeros((len(features), 2))
    perplexity = min(30, (len(features) - 1) / 3)
    tsne = manifold.TSNE(perplexity=perplexity, random_state=0)
    with threadpoolctl.threadpool_limits(1):  # JAX's threads stand in their way
        return tsne.fit_transform(features)


@_styled
def reliability(trainings: Sequence[Training]) -> figure_lib.Figure:
    """How often the predictions of each confidence are right, over all runs.

    Below stand the utterances of each bin; a hatched bin is empty.
    """
    what = "test utterances of all runs, expected calibration error (ECE)"
    panels = _Panels(trainings, 0.95, what, below=0.4)
    drawn = zip(panels.axes, panels.below, trainings, strict=True)
    for axes, counts, training in drawn:
        bins = metrics.calibration(training.labels, training.probabilities)
        _bins(axes, bins)
        counts.bar(
            bins["left"], bins["count"], width=0.1, align="edge", color="dimgray"
        )
        for left, count in zip(bins["left"], bins["count"], strict=True):
            counts.annotate(
                count,
                (left + 0.05, 0.95),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                rotation=90,
            )
        counts.set(xlim=(0, 1), ylim=(0, 2.2 * bins["count"].max()), yticks=[])
        error = metrics.calibration_error(training.labels, training.probabilities)
        panels.title(
            axes,
            training.name,
            f"n = {len(training.labels)}, ECE {error:.1f} %",
        )
    panels.label(panels.axes, "", "accuracy")
    panels.label(panels.below, "confidence", "utterances")
    _legend(panels.figure, panels.axes[:1])
    return panels.figure


@_styled
def over_time(
    name: str,
    outline: np.ndarray,
    seconds: float,
    times: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    width: float = PAGE,
) -> figure_lib.Figure:
    """What a model tells of a recording: its waveform, and probabilities below.

    A segment's probabilities stand around its middle.

    Args:
      name: The recording.
      outline: (columns, 2), the lowest and highest sample of each part, full scale one;
        the parts are equally long.
      seconds: How long it is.
      times: (n, 2), start and end of the segments in seconds.
      probabilities: (n, classes).
      class_names: The classes.
      width: In inches; less than a page's has the legend below.
    """
    figure = figure_lib.Figure(figsize=(width, 3.0), layout="constrained")
    wave, classes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    edges = np.linspace(0, seconds, len(outline))
    wave.fill_between(edges, *outline.T, color="dimgray", linewidth=0.3)
    peak = max(float(np.abs(outline).max()), 1e-6)
    wave.set(ylim=(-1.1 * peak, 1.1 * peak), yticks=[-peak, 0, peak])
    wave.yaxis.set_major_formatter("{x:.2g}")
    wave.set_ylabel("waveform")
    # From the recording's start to its end, though no middle lies there.
    middles = np.concatenate([[0], times.mean(axis=1), [seconds]])
    rows = np.concatenate([probabilities[:1], probabilities, probabilities[-1:]])
    hatches = ("", "////", "....", "\\\\\\\\", "xxxx", "++++", "oooo")
    labels = [text.printable(class_name) for class_name in class_names]
    stacks = classes.stackplot(middles, rows.T, labels=labels, linewidth=0.5)
    for number, stack in enumerate(stacks):
        stack.set(
            facecolor=(COLORS[number % len(COLORS)], 0.6),
            edgecolor="white",
            hatch=hatches[number % len(hatches)],
        )
    classes.set(xlim=(0, seconds), ylim=(0, 1), yticks=[0, 0.5, 1], xlabel="seconds")
    classes.set_ylabel("probability")
    if width < PAGE:
        _legend(figure, [classes])
    else:
        handles, names = classes.get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside right center")
    shown, room = text.printable(name), int(width * POINTS / LETTER)
    figure.suptitle(shown if len(shown) <= room else f"...{shown[3 - room :]}")
    return figure


def _bins(axes: axes_lib.Axes, bins: dict[str, np.ndarray]) -> None:
    """Draws what `metrics.calibration` gives."""
    filled = bins["count"] > 0
    bar = functools.partial(axes.bar, width=0.1, align="edge", linewidth=0.5)
    bar(
        bins["left"][filled],
        bins["accuracy"][filled],
        color=COLORS[4],
        edgecolor="black",
        label="accuracy",
    )
    bar(
        bins["left"][~filled],
        np.ones(np.count_nonzero(~filled)),
        color="white",
        edgecolor="lightgray",
        hatch="////",
        label="empty bin",
    )
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", label="calibrated")
    axes.plot(
        bins["confidence"][filled],
        bins["accuracy"][filled],
        "o",
        color="black",
        label="mean confidence",
        clip_on=False,
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    axes.tick_params(labelbottom=False)


class _Panels:
    """A figure with a panel for each training.

    Attributes:
      figure: The figure.
      axes: The panels, in the order of the trainings.
      below: Smaller ones below them; none where none were asked for.
      width: The width of each in inches, with its labels.
    """

    def __init__(
        self, trainings: Sequence[Training], shape: float, what: str, below: float = 0
    ):
        """Makes it.

        Args:
          trainings: The trainings.
          shape: The height of a panel for its width.
          what: What the figure shows.
          below: The height of the smaller panels for that of a panel.
        """
        count = len(trainings)
        self._columns = _columns(count)
        rows = -(-count // self._columns)
        self.width = _width(count)
        height = self.width * shape * (1 + below) + 0.4
        self.figure = _figure(trainings, rows * height + 0.4, what)
        ratios = (1, below) if below else (1,)
        grid = self.figure.subplots(
            rows * len(ratios),
            self._columns,
            squeeze=False,
            height_ratios=ratios * rows,
        )
        parts = [grid[k :: len(ratios)].flat for k in range(len(ratios))]
        for part in parts:
            for axes in part[count:]:
                axes.remove()
        self.axes = list(parts[0][:count])
        self.below = list(parts[1][:count]) if below else []

    def title(self, axes: axes_lib.Axes, name: str, rest: str) -> None:
        """Titles a panel, in lines that it is wide enough for."""
        letters = int(self.width * POINTS / LETTER)
        parts = [f"{text.printable(name)}, {rest}"]
        if len(parts[0]) > letters:
            parts = [text.printable(name), rest]
        lines = [line for part in parts for line in textwrap.wrap(part, letters)]
        axes.set_title("\n".join(lines))

    def label(self, panels: Sequence[axes_lib.Axes], x: str, y: str) -> None:
        """Labels the outer ones of some panels, and takes the others' labels away."""
        for number, axes in enumerate(panels):
            if number + self._columns >= len(panels):
                axes.set_xlabel(x)
            else:
                axes.tick_params(labelbottom=False)
            if number % self._columns == 0:
                axes.set_ylabel(y)
            else:
                axes.tick_params(labelleft=False)


def _columns(count: int) -> int:
    """How many of some panels stand beside each other."""
    return {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(count, 4)


def _width(count: int) -> float:
    """The width of each of some panels, with its labels, in inches."""
    return (COLUMN if count == 1 else PAGE) / _columns(count)


def _figure(
    trainings: Sequence[Training], height: float, what: str
) -> figure_lib.Figure:
    """A figure as wide as a column or a page; its title says what was done.

    Args:
      trainings: The trainings.
      height: In inches, without the title.
      what: What the figure shows, '' for nothing to add.
    """
    width = COLUMN if len(trainings) == 1 else PAGE
    chosen = dict.fromkeys(epoch(t.report) for t in trainings)
    title = "; ".join(part for part in (subjects(trainings), *chosen, what) if part)
    lines = textwrap.wrap(text.printable(title), int(width * POINTS / LETTER))
    figure = figure_lib.Figure(
        figsize=(width, height + 0.16 * len(lines)), layout="constrained"
    )
    figure.suptitle("\n".join(lines))
    return figure


def _legend(figure: figure_lib.Figure, panels: Sequence[axes_lib.Axes]) -> None:
    """One legend below the panels, in as many columns as there is room for."""
    found: dict[str, artist.Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    widths = [len(label) * LETTER / POINTS + 0.55 for label in found]  # inches
    for columns in range(len(found), 0, -1):
        rows = -(-len(found) // columns)  # filled column by column
        widest = [max(widths[k : k + rows]) for k in range(0, len(widths), rows)]
        if sum(widest) < figure.get_figwidth():
            break
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
