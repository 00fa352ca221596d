"""Tables of finished trainings beside the paper's: Markdown, LaTeX and CSV."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import tabulate

from data_prep import text
from glam_jax import comparison, metrics, paper, results

# What an epoch is chosen by, in words.
SELECTIONS = {
    "test": "best epoch on the test fold (optimistic)",
    "validation": "best epoch on the validation utterances",
    "last": "last epoch",
}


# The columns of table.csv and of pairs.csv.
LONG = (
    "table corpus splits protocol row model epoch measure mean sd ci95 n paper_mean "
    "paper_sd folder"
)
PAIRS = "corpus splits protocol row against over n epoch measure mean low high p"


def mean_sd(summary: dict) -> str:
    """'81.18 ± 1.47', without the sd where there is none."""
    if summary["sd"] is None:
        return f"{summary['mean']:.2f}"
    return f"{summary['mean']:.2f} ± {summary['sd']:.2f}"


def render(lines: list[dict[str, str]], tablefmt: str = "github") -> str:
    """Lines of cells by column as a table, in a format of tabulate."""
    return tabulate.tabulate(
        lines, headers="keys", tablefmt=tablefmt, disable_numparse=True
    )


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
        "table.md": as_text(table, parts, "github"),
        "table.tex": as_text(table, parts, "latex_booktabs"),
        "table.csv": _csv(LONG, [line for row in rows for line in long(table, row)]),
        "pairs.csv": _csv(
            PAIRS,
            [
                _part_columns(part[0]) | pair
                for part in parts
                for pair in comparison.pairs(part)
            ],
        ),
    }
    for name, written in texts.items():
        text.write_text(folder / name, written)
    from glam_jax import figures  # importing matplotlib takes seconds

    for part in parts:
        names = [*_part_columns(part[0]).values()]
        figures.write(folder / "_".join(names) if len(parts) > 1 else folder, part)
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


def as_text(
    table: str, parts: Sequence[Sequence[results.Training]], tablefmt: str
) -> str:
    """All parts of a table, each with its comparisons.

    Args:
      table: The name of the table, '' for trainings of one's own.
      parts: The trainings of each part.
      tablefmt: A format of tabulate, 'github' or 'latex_booktabs'.
    """
    blocks = []
    for part in parts:
        numbers = sorted({training.report["num_epochs"] for training in part})
        title = f"{table or 'comparison'}: {results.subjects(part)}"
        title += f", {' or '.join(map(str, numbers))} epochs"
        others = not_compared(part)
        note = f"Not compared: {'; '.join(others)}."
        if tablefmt == "latex_booktabs":
            captioned = captioned_lines(table, part)
            blocks += [_latex(f"{title}. {words}", lines) for words, lines in captioned]
            blocks += [f"% {note}"] if others else []
        else:
            blocks.append(f"## {title}")
            for words, lines in captioned_lines(table, part):
                blocks += [words, render(lines, tablefmt)]
            blocks += [note] if others else []
    return "\n\n".join(blocks) + "\n"


def captioned_lines(
    table: str, part: Sequence[results.Training]
) -> list[tuple[str, list[dict[str, str]]]]:
    """The results of a part, and the differences over runs and over speakers.

    Returns:
      For each a caption and its lines, which are cells by column.
    """
    how = SELECTIONS[part[0].report["selection"]]
    captioned = [
        (
            f"In percent, mean ± sd over n runs; {how}.",
            _without_empty_columns([result_line(table, row) for row in part]),
        )
    ]
    pairs = comparison.pairs(part)
    if lines := pair_lines(pairs, "runs"):
        captioned.append(
            (
                "Differences on the same test utterances over n runs, ± half the 95 % "
                "interval, and p of the corrected resampled t-test (Nadeau & Bengio "
                f"2003), which allows for runs that share data. {_bonferroni(lines)}",
                lines,
            )
        )
    if lines := pair_lines(pairs, "speakers"):
        captioned.append(
            (
                "Differences over n speakers, none of whom was tested by a model that "
                "was trained on them: mean of the speakers, its 95 % interval by "
                f"{comparison.RESAMPLES} bootstraps of speakers, and p of the "
                f"Wilcoxon signed-rank test. {_bonferroni(lines)}",
                lines,
            )
        )
    return captioned


def _bonferroni(lines: list[dict[str, str]]) -> str:
    count = sum(column.startswith("p (") for line in lines for column in line)
    return f"There are {count} of them: Bonferroni asks for p < {0.05 / count:.2g}."


def _without_empty_columns(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    filled = [column for column in lines[0] if any(line.get(column) for line in lines)]
    return [{column: line.get(column, "") for column in filled} for line in lines]


def _latex(caption: str, lines: list[dict[str, str]]) -> str:
    escaped = caption.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")
    escaped = escaped.replace("<", "$<$")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped}}}",
            render(lines, "latex_booktabs"),
            r"\end{table}",
        ]
    )


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


def result_line(table: str, training: results.Training) -> dict[str, str]:
    """One line of results by column: the reported epoch, the last one, the paper's."""
    report = training.report
    line = {"row": training.name, "n": str(len(report["runs"]))}
    summary = report["summary"]
    for measure in metrics.NAMES:
        line[metrics.TITLES[measure]] = mean_sd(summary["selected"][measure])
    if report["selection"] != "last":
        for measure in ("wa", "ua"):
            title = f"{metrics.TITLES[measure]}, last epoch"
            line[title] = mean_sd(summary["last"][measure])
    title, found = published(table, training)
    for measure, figure in itertools.zip_longest(metrics.NAMES, found):
        cell = mean_sd(figure._asdict()) if figure else ""
        line[f"{title}: {metrics.TITLES[measure]}"] = cell
    return line


def pair_lines(pairs: Sequence[dict[str, Any]], over: str) -> list[dict[str, str]]:
    """One line for each pair of trainings.

    Args:
      pairs: What `comparison.pairs` gives.
      over: 'runs' or 'speakers'.
    """
    chosen = [pair for pair in pairs if pair["over"] == over]
    several = len({pair["epoch"] for pair in chosen}) > 1
    lines: dict[tuple[str, str], dict[str, str]] = {}
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
        line[f"p ({title})"] = "" if pair["p"] is None else f"{pair['p']:.2g}"
    return list(lines.values())


def not_compared(part: Sequence[results.Training]) -> list[str]:
    """The pairs of trainings that cannot be compared, with the reason."""
    return [
        f"{second.name} and {first.name} ({reason})"
        for first, second in itertools.combinations(part, 2)
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
