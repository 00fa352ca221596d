"""Tables of finished trainings beside the paper's: Markdown, LaTeX and CSV."""

import csv
import dataclasses
import io
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
import tabulate

from glam_jax import metrics, paper, report, workdir


@dataclasses.dataclass(frozen=True)
class Row:
    """A finished training in a table.

    Attributes:
      name: of the row.
      subset: of IEMOCAP, '' for another corpus.
      folder: of the training.
      report: what its report.json holds.
    """

    name: str
    subset: str
    folder: pathlib.Path
    report: dict

    def part(self) -> tuple[str, str]:
        """The part of the table it belongs to: protocol and subset."""
        return self.report["protocol"], self.subset

    def published(self, table: str) -> Sequence[paper.Figure]:
        """The paper's figures for it, () for none; those on improvised IEMOCAP for
        another corpus, and those of the main table where a table is not the paper's."""
        subset = self.subset or "impro"
        for of_table in (table, "main", "ablation"):
            if (of_table, subset, self.name) in paper.FIGURES:
                return paper.FIGURES[of_table, subset, self.name]
        return ()


def write(folder: pathlib.Path, table: str, rows: Sequence[Row]) -> str:
    """Writes table.md, table.tex, table.csv and pairs.csv.

    Args:
      folder: that receives them.
      table: its name.
      rows: in the order of the table's parts.

    Returns:
      The text of table.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "table.md": as_text(table, rows, "github"),
        "table.tex": as_text(table, rows, "latex_booktabs"),
        "table.csv": _csv(long_rows(table, rows)),
        "pairs.csv": _csv(
            {"protocol": protocol, "subset": subset, **pair}
            for (protocol, subset), part in _parts(rows)
            for pair in pairs(part)
        ),
    }
    for name, text in texts.items():
        workdir.write_atomically(folder / name, text)
    return texts["table.md"]


def _parts(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    return [(key, list(part)) for key, part in itertools.groupby(rows, Row.part)]


def as_text(table: str, rows: Sequence[Row], tablefmt: str) -> str:
    """All parts of a table, each with its comparisons, in a format of tabulate."""
    comment = "% " if tablefmt.startswith("latex") else ""
    heading = "% " if comment else "## "

    def render(lines: list[dict[str, str]]) -> str:
        return tabulate.tabulate(
            lines, headers="keys", tablefmt=tablefmt, disable_numparse=True
        )

    blocks = []
    for (protocol, subset), part in _parts(rows):
        first = part[0].report
        title = f"{table}: {first['corpus']} {subset}".strip()
        title += f", protocol {protocol}, {first['num_epochs']} epochs"
        chosen = report.SELECTIONS[first["selection"]]
        blocks += [
            heading + title,
            comment + f"In percent, mean ± sd over n runs; {chosen}.",
            render([result_line(table, row) for row in part]),
        ]
        if lines := pair_lines(part):
            count = len(lines)
            blocks += [
                comment + "Differences on the same splits, ± half the 95 % interval, "
                "and p of the corrected resampled t-test (Nadeau & Bengio 2003), which "
                "allows for runs that share data.",
                comment + f"With {count} pairs, Bonferroni asks for p < "
                f"{0.05 / count:.2g}.",
                render(lines),
            ]
        if others := other_splits(part):
            blocks.append(
                comment
                + "Not compared, since they were tested on other utterances: "
                + "; ".join(others)
                + "."
            )
    return "\n\n".join(blocks) + "\n"


def result_line(table: str, row: Row) -> dict[str, str]:
    """One line of results by column: the reported epoch, the last one, the paper's."""
    line = {"model": row.name, "n": str(len(row.report["runs"]))}
    summary = row.report["summary"]
    for measure in metrics.NAMES:
        line[metrics.TITLES[measure]] = _mean_sd(summary["selected"][measure])
    if row.report["selection"] != "last":
        for measure in ("wa", "ua"):
            title = f"{metrics.TITLES[measure]}, last epoch"
            line[title] = _mean_sd(summary["last"][measure])
    where = "" if row.subset else " (IEMOCAP impro)"
    figures = row.published(table)
    for number, measure in enumerate(metrics.NAMES):
        cell = ""
        if number < len(figures):
            cell = _mean_sd(figures[number]._asdict())
        line[f"paper{where}: {metrics.TITLES[measure]}"] = cell
    return line


def _mean_sd(summary: dict) -> str:
    if summary["sd"] is None:
        return f"{summary['mean']:.2f}"
    return f"{summary['mean']:.2f} ± {summary['sd']:.2f}"


def pairs(part: Sequence[Row]) -> list[dict]:
    """Compares each two rows that have the same splits, the later with the earlier."""
    compared = []
    for first, second in itertools.combinations(part, 2):
        if not _same_splits(first, second):
            continue
        runs = first.report["runs"]
        ratio = np.mean([r["test_utterances"] / r["train_utterances"] for r in runs])
        for epoch, measure in itertools.product(_epochs(part), ("wa", "ua")):
            theirs, ours = (
                [run[epoch][measure] for run in row.report["runs"]]
                for row in (first, second)
            )
            compared.append(
                {
                    "model": second.name,
                    "against": first.name,
                    "n": len(runs),
                    "epoch": epoch,
                    "measure": measure,
                    **metrics.paired_difference(ours, theirs, ratio),
                }
            )
    return compared


def _epochs(part: Sequence[Row]) -> list[str]:
    only_last = part[0].report["selection"] == "last"
    return ["last"] if only_last else ["selected", "last"]


def _same_splits(first: Row, second: Row) -> bool:
    return first.report["splits"]["sha256"] == second.report["splits"]["sha256"]


def pair_lines(part: Sequence[Row]) -> list[dict[str, str]]:
    """One line for each pair of rows."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for pair in pairs(part):
        key = pair["model"], pair["against"]
        line = lines.setdefault(
            key, {"pair": f"{key[0]} - {key[1]}", "n": str(pair["n"])}
        )
        late = (
            ", last epoch" if pair["epoch"] == "last" and len(_epochs(part)) > 1 else ""
        )
        title = metrics.TITLES[pair["measure"]] + late
        line[title] = f"{pair['mean']:+.2f}"
        if pair["ci95"] is not None:
            line[title] += f" ± {pair['ci95']:.2f}"
        line[f"p ({title})"] = "" if pair["p"] is None else f"{pair['p']:.3f}"
    return list(lines.values())


def other_splits(part: Sequence[Row]) -> list[str]:
    """The pairs of rows that were trained on different splits."""
    return [
        f"{second.name} and {first.name}"
        for first, second in itertools.combinations(part, 2)
        if not _same_splits(first, second)
    ]


def long_rows(table: str, rows: Sequence[Row]) -> list[dict]:
    """One object for each row, epoch and measure."""
    return [
        {
            "table": table,
            "corpus": row.report["corpus"],
            "protocol": row.report["protocol"],
            "subset": row.subset,
            "row": row.name,
            "model": row.report["model"],
            "epoch": epoch,
            "measure": measure,
            **row.report["summary"][epoch][measure],
            "paper_mean": figure.mean if figure else None,
            "paper_sd": figure.sd if figure else None,
            "folder": row.folder.name,
        }
        for row in rows
        for epoch in ("selected", "last", "best_on_test")
        for measure, figure in itertools.zip_longest(
            metrics.NAMES, row.published(table)
        )
    ]


def _csv(rows) -> str:
    rows = list(rows)
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
