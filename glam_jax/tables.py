"""Tables of finished trainings beside the paper's: Markdown, LaTeX and CSV."""

import itertools
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from data_prep import text
from glam_jax import comparison, markup, metrics, paper, results

LEVEL = 0.05  # of significance, of all tests of a part together (Holm)
OF_RECIPES = ("plus", "ingredients")  # the tables that tell how a recipe ends
LAST = 5  # epochs, whose UA tells whether an end point holds

# The columns of table.csv and of pairs.csv.
LONG = (
    "table corpus splits protocol row model epoch measure mean sd ci95 n paper_mean "
    "paper_sd folder"
)
PAIRS = "corpus splits protocol row against over n epoch measure mean low high p p_holm"


def mean_sd(summary: dict) -> str:
    """'81.18 ± 1.47', without the sd where there is none."""
    if summary["sd"] is None:
        return f"{summary['mean']:.2f}"
    return f"{summary['mean']:.2f} ± {summary['sd']:.2f}"


def write(
    folder: pathlib.Path, table: str, parts: Sequence[Sequence[results.Training]]
) -> str:
    """Writes table.md, table.tex, table.csv, pairs.csv and the figures.

    Args:
      folder: It receives them; figures of several parts go to a folder for each.
      table: The name of the table, '' for trainings of one's own.
      parts: The trainings of each part, which are its rows.

    Returns:
      The text of table.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(itertools.chain.from_iterable(parts))
    texts = {
        "table.md": as_markdown(table, parts),
        "table.tex": as_latex(table, parts),
        "table.csv": _csv(LONG, [line for row in rows for line in long(table, row)]),
        "pairs.csv": _csv(
            PAIRS,
            [
                _part_columns(part[0]) | pair
                for part in parts
                for pair in comparison.pairs(part, _base(table))
            ],
        ),
    }
    for name, written in texts.items():
        text.write_text(folder / name, written)
    from glam_jax import figures  # importing matplotlib takes seconds

    for part in parts:
        names = [*_part_columns(part[0]).values()]
        trained = [training for training in part if training.epochs]
        figures.write(folder / "_".join(names) if len(parts) > 1 else folder, trained)
    return texts["table.md"]


def in_parts(
    trainings: Sequence[results.Training],
) -> list[list[results.Training]]:
    """Those on one corpus under one protocol, one after the other, are a part."""
    grouped = itertools.groupby(trainings, lambda t: results.subject(t.report))
    return [list(part) for _, part in grouped]


def _part_columns(training: results.Training) -> dict[str, str]:
    return {
        "corpus": training.report["corpus"],
        "splits": "+".join(training.report["tfds_splits"]),
        "protocol": training.report["protocol"],
    }


def as_markdown(table: str, parts: Sequence[Sequence[results.Training]]) -> str:
    """All parts of a table, each with its comparisons, as Markdown.

    Args:
      table: The name of the table, '' for trainings of one's own.
      parts: The trainings of each part.
    """
    blocks = []
    for part in parts:
        blocks.append(f"## {markup.markdown_text(_title(table, part))}")
        for _, words, lines in captioned_lines(table, part):
            blocks += [words, markup.markdown(lines)]
        if note := _note(table, part):
            blocks.append(markup.markdown_text(note))
    return "\n\n".join(blocks) + "\n"


def as_latex(table: str, parts: Sequence[Sequence[results.Training]]) -> str:
    """The same as LaTeX, with the paper's figures in lines of their own."""
    blocks = [r"% \usepackage{booktabs}"]
    for part in parts:
        names = [table, *_part_columns(part[0]).values()]
        for kind, words, lines in captioned_lines(table, part):
            if kind == "results":
                lines = _without_empty_columns(_paper_below(lines))
            label = re.sub("[^a-z0-9]+", "-", "-".join([*names, kind]).lower())
            caption = f"{_title(table, part)}. {words}"
            blocks.append(markup.latex(lines, caption, f"tab:{label.strip('-')}"))
        if note := _note(table, part):
            blocks.append(f"% {text.printable(note)}")
    return "\n\n".join(blocks) + "\n"


def _title(table: str, part: Sequence[results.Training]) -> str:
    numbers = sorted({training.report["num_epochs"] for training in part})
    return (
        f"{table or 'comparison'}: {results.subjects(part)}, "
        f"{' or '.join(map(str, numbers))} epochs"
    )


def _base(table: str) -> str:
    """The row that the others are compared with; '' where each two are compared."""
    return "plain" if table == "ingredients" else ""


def _note(table: str, part: Sequence[results.Training]) -> str:
    others = not_compared(part, _base(table))
    return f"Not compared: {'; '.join(others)}." if others else ""


def _paper_below(lines: list[markup.Line]) -> list[markup.Line]:
    """The paper's cells of each line as a line below it."""
    below = []
    for line in lines:
        ours = {key: cell for key, cell in line.items() if ": " not in key}
        below.append(ours)
        theirs = {key: cell for key, cell in line.items() if ": " in key}
        if any(theirs.values()):
            title = next(iter(theirs)).rpartition(": ")[0]
            cells = {key.rpartition(": ")[2]: cell for key, cell in theirs.items()}
            below.append(dict.fromkeys(ours, "") | cells | {"row": title})
    return below


def captioned_lines(
    table: str, part: Sequence[results.Training]
) -> list[tuple[str, str, list[markup.Line]]]:
    """The results of a part, and the differences over runs and over speakers.

    Returns:
      For each what it is ('results', 'runs' or 'speakers'), a caption and its lines.
    """
    how = results.epoch(part[0].report)
    pairs = comparison.pairs(part, _base(table))
    best = clearly_best(part, pairs)
    caption = f"In percent, mean ± sd over n runs; {how}."
    if table in OF_RECIPES:
        caption += (
            " The spread is the standard deviation of a run's test UA over its last "
            f"{LAST} epochs, or as many as it has, the mean of the runs; the seconds "
            "are those of the training steps of all runs."
        )
    if best:
        caption += (
            " Bold: the best WA or UA, where it differs from that of each other row, "
            f"p < {LEVEL} (corrected resampled t-test over runs; Holm)."
        )
    lines = [result_line(table, row, best) for row in part]
    captioned = [("results", caption, _without_empty_columns(lines))]
    if lines := pair_lines(pairs, "runs"):
        captioned.append(
            (
                "runs",
                "Differences on the same test utterances over n runs (folds, where one "
                "row has more seeds of each), ± half the 95 % "
                "interval, and p of the corrected resampled t-test (Nadeau & Bengio "
                "2003), which allows for runs that share data. " + _holm(pairs, "runs"),
                _without_empty_columns(lines),
            )
        )
    if lines := pair_lines(pairs, "speakers"):
        captioned.append(
            (
                "speakers",
                "Differences over n speakers, none of whom was tested by a model that "
                "was trained on them: mean of the speakers, its 95 % interval by "
                f"{comparison.RESAMPLES} bootstraps of speakers, and p of the "
                "Wilcoxon signed-rank test. " + _holm(pairs, "speakers"),
                _without_empty_columns(lines),
            )
        )
    return captioned


def clearly_best(
    part: Sequence[results.Training], pairs: Sequence[dict[str, Any]]
) -> set[tuple[str, str, str]]:
    """The best rows, where each other row is significantly worse.

    That is by the corrected resampled t-test over runs, with Holm's correction for all
    tests of the part. A row that cannot be compared is not worse.

    Args:
      part: The trainings.
      pairs: What `comparison.pairs` gives for them.

    Returns:
      (row, epoch, measure) of each.
    """
    found = set()
    for epoch, measure in itertools.product(("selected", "last"), comparison.MEASURES):
        best = max(part, key=lambda t: t.report["summary"][epoch][measure]["mean"])
        p_values = [
            pair["p_holm"]
            for pair in pairs
            if pair["over"] == "runs"
            and (pair["epoch"], pair["measure"]) == (epoch, measure)
            and best.name in (pair["row"], pair["against"])
        ]
        clear = [p for p in p_values if p is not None and p < LEVEL]
        if len(clear) == len(part) - 1 > 0:
            found.add((best.name, epoch, measure))
    return found


def _holm(pairs: Sequence[dict[str, Any]], over: str) -> str:
    count = sum(pair["over"] == over and pair["p"] is not None for pair in pairs)
    return f"Holm's correction of p allows for all {count} tests."


def _without_empty_columns(lines: list[markup.Line]) -> list[markup.Line]:
    filled = [column for column in lines[0] if any(line.get(column) for line in lines)]
    return [{column: line.get(column, "") for column in filled} for line in lines]


def published(
    table: str, training: results.Training
) -> tuple[str, Sequence[paper.Figure]]:
    """Looks up what the paper has to compare a training with.

    Where a table is not the paper's own, that is its main table or its ablation. For
    another corpus of four classes it is the figures on improvised speech, except where
    trainings of one's own are compared.

    Args:
      table: The name of the table, '' for trainings of one's own.
      training: The training.

    Returns:
      What the figures are, and they, () for none.
    """
    report = training.report
    subset = paper.subset(report["corpus"], report["tfds_splits"])
    if len(report["classes"]) != 4 or not (table or subset):
        return "paper", ()
    what = [] if subset else ["IEMOCAP impro"]
    if table != "split811" and report["protocol"] != "paper":
        what.append("protocol paper")
    title = f"paper ({', '.join(what)})" if what else "paper"
    row = training.name if table == "alpha" else report["model"]
    for of_table in (table, "main", "ablation"):
        if found := paper.figures(of_table, subset or "impro", row):
            return title, found
    return title, ()


def result_line(
    table: str,
    training: results.Training,
    best: Collection[tuple[str, str, str]] = (),
) -> markup.Line:
    """One line of results by column: the reported epoch, the last one, the paper's.

    Args:
      table: The name of the table, '' for trainings of one's own.
      training: The training.
      best: What `clearly_best` gives; it is in bold.
    """
    report = training.report

    def cell(epoch: str, measure: str) -> str:
        shown = mean_sd(summary[epoch][measure])
        tested = "last" if report["selection"] == "last" else epoch
        is_best = (training.name, tested, measure) in best
        return markup.Bold(shown) if is_best else shown

    summary = report["summary"]
    line = {"row": training.name, "n": str(summary["last"]["wa"]["n"])}
    for measure in metrics.NAMES:
        line[metrics.TITLES[measure]] = cell("selected", measure)
    if report["selection"] != "last":
        for measure in ("wa", "ua"):
            title = f"{metrics.TITLES[measure]}, last epoch"
            line[title] = cell("last", measure)
    if comparison.held_out_speakers([training]):
        line["pooled UA"] = f"{report['pooled']['ua']:.2f}"
    if table in OF_RECIPES:
        line |= _how_it_ends(training)
    title, found = published(table, training)
    for measure, figure in itertools.zip_longest(metrics.NAMES, found):
        cell = mean_sd(figure._asdict()) if figure else ""
        line[f"{title}: {metrics.TITLES[measure]}"] = cell
    return line


def _how_it_ends(training: results.Training) -> markup.Line:
    """Calibration error, the spread of the last epochs, and what the steps took."""
    ua: dict[int, list[float]] = {}
    for row in training.epochs:
        ua.setdefault(row["run"], []).append(row["ua"])
    spreads = [np.std(of_run[-LAST:], ddof=1) for of_run in ua.values() if of_run[1:]]
    groups: dict[tuple[int, float], list[int]] = {}  # runs that shared their time
    for row in training.epochs:
        if speed := row.get("segments_per_second"):
            groups.setdefault((row["epoch"], speed), []).append(row["segments"])
    seconds = sum(np.mean(of_group) / speed for (_, speed), of_group in groups.items())
    error = metrics.calibration_error(training.labels, training.probabilities)
    return {
        "calibration error": f"{error:.1f}",
        "spread": f"{np.mean(spreads):.1f}" if spreads else "",
        "seconds": f"{seconds:.0f}" if groups else "",
    }


def pair_lines(pairs: Sequence[dict[str, Any]], over: str) -> list[markup.Line]:
    """One line for each pair of trainings.

    Args:
      pairs: What `comparison.pairs` gives.
      over: 'runs' or 'speakers'.
    """
    chosen = [pair for pair in pairs if pair["over"] == over]
    several = len({pair["epoch"] for pair in chosen}) > 1
    lines: dict[tuple[str, str], markup.Line] = {}
    for pair in chosen:
        key = pair["row"], pair["against"]
        line = lines.setdefault(
            key, {"pair": f"{key[0]} against {key[1]}", "n": str(pair["n"])}
        )
        late = ", last epoch" if several and pair["epoch"] == "last" else ""
        title = metrics.TITLES[pair["measure"]] + late
        line[title] = f"{pair['mean']:+.2f}"
        if pair["low"] is not None and over == "runs":
            line[title] += f" ± {pair['high'] - pair['mean']:.2f}"
        elif pair["low"] is not None:
            line[title] += f" [{pair['low']:+.2f}, {pair['high']:+.2f}]"
        line[f"p ({metrics.TITLES[pair['measure']]}){late}"] = _p(pair["p_holm"])
    return list(lines.values())


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def not_compared(part: Sequence[results.Training], base: str) -> list[str]:
    """The pairs of `comparison.couples` that cannot be compared, with the reason."""
    return [
        f"{second.name} and {first.name} ({reason})"
        for first, second in comparison.couples(part, base)
        if (reason := comparison.what_differs(first, second))
    ]


def long(table: str, training: results.Training) -> list[dict[str, Any]]:
    """A row of table.csv for each epoch and measure, with the paper's figure for it."""
    _, of_paper = published(table, training)
    report, lines = training.report, []
    epochs = comparison.epochs(report)
    for epoch in epochs:
        found = of_paper if epoch == epochs[0] else ()
        for measure, figure in itertools.zip_longest(metrics.NAMES, found):
            lines.append(
                {
                    "table": table,
                    **_part_columns(training),
                    "row": training.name,
                    "model": report["model"],
                    "epoch": epoch,
                    "measure": measure,
                    **report["summary"][epoch][measure],
                    "paper_mean": figure.mean if figure else None,
                    "paper_sd": figure.sd if figure else None,
                    "folder": training.folder.name,
                }
            )
    return lines


def _csv(columns: str, lines: Sequence[dict[str, Any]]) -> str:
    header = columns.split()
    return text.csv_text(header, [[line[key] for key in header] for line in lines])
