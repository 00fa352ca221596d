"""Tables of finished trainings beside the paper's: Markdown, LaTeX and CSV."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence

from data_prep import text
from glam_jax import metrics, paper, report


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

    def published(self, table: str) -> tuple[str, Sequence[paper.Figure]]:
        """Looks up what the paper has to compare it with.

        Where a table is not the paper's own, that is its main table or its ablation;
        for another corpus of four classes, its figures on improvised speech.

        Returns:
          What the figures are, and they, () for none.
        """
        if len(self.report["classes"]) != 4:
            return "paper", ()
        subset = self.subset or "impro"
        what = ["IEMOCAP impro"] if not self.subset else []
        if table not in ("split811",) and self.report["protocol"] != "paper":
            what.append("protocol paper")
        title = f"paper ({', '.join(what)})" if what else "paper"
        for of_table in (table, "main", "ablation"):
            if figures := paper.figures(of_table, subset, self.name):
                return title, figures
        return title, ()


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
    for name, written in texts.items():
        text.write_text(folder / name, written)
    return texts["table.md"]


def _parts(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    return [(key, list(part)) for key, part in itertools.groupby(rows, Row.part)]


def as_text(table: str, rows: Sequence[Row], tablefmt: str) -> str:
    """All parts of a table, each with its comparisons.

    Args:
      table: its name.
      rows: in the order of the table's parts.
      tablefmt: a format of tabulate, 'github' or 'latex_booktabs'.
    """
    blocks = []
    for (protocol, subset), part in _parts(rows):
        first = part[0].report
        title = f"{table}: {first['corpus']} {subset}".strip()
        title += f", protocol {protocol}, {first['num_epochs']} epochs"
        captioned = [
            (
                f"In percent, mean ± sd over n runs; "
                f"{report.SELECTIONS[first['selection']]}.",
                [result_line(table, row) for row in part],
            )
        ]
        if lines := pair_lines(part):
            count = sum(len(line) // 2 - 1 for line in lines)
            captioned.append(
                (
                    "Differences on the same splits, ± half the 95 % interval, and p "
                    "of the corrected resampled t-test (Nadeau & Bengio 2003), which "
                    f"allows for runs that share data. There are {count} of them: "
                    f"Bonferroni asks for p < {0.05 / count:.2g}.",
                    lines,
                )
            )
        others = other_splits(part)
        note = f"Not compared, tested on other utterances: {'; '.join(others)}."
        if tablefmt == "latex_booktabs":
            blocks += [_latex(f"{title}. {words}", lines) for words, lines in captioned]
            blocks += [f"% {note}"] if others else []
        else:
            blocks.append(f"## {title}")
            for words, lines in captioned:
                blocks += [words, report.render(lines, tablefmt)]
            blocks += [note] if others else []
    return "\n\n".join(blocks) + "\n"


def _latex(caption: str, lines: list[dict[str, str]]) -> str:
    escaped = caption.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")
    escaped = escaped.replace("<", "$<$")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped}}}",
            report.render(lines, "latex_booktabs"),
            r"\end{table}",
        ]
    )


def result_line(table: str, row: Row) -> dict[str, str]:
    """One line of results by column: the reported epoch, the last one, the paper's."""
    line = {"row": row.name, "n": str(len(row.report["runs"]))}
    summary = row.report["summary"]
    for measure in metrics.NAMES:
        line[metrics.TITLES[measure]] = report.mean_sd(summary["selected"][measure])
    if row.report["selection"] != "last":
        for measure in ("wa", "ua"):
            title = f"{metrics.TITLES[measure]}, last epoch"
            line[title] = report.mean_sd(summary["last"][measure])
    title, figures = row.published(table)
    for measure, figure in itertools.zip_longest(metrics.NAMES, figures):
        cell = report.mean_sd(figure._asdict()) if figure else ""
        line[f"{title}: {metrics.TITLES[measure]}"] = cell
    return line


def pairs(part: Sequence[Row]) -> list[dict]:
    """Compares each two rows that have the same splits, the later with the earlier.

    Returns:
      For each pair, epoch and measure what `metrics.paired_difference` gives, and n.
    """
    compared = []
    for first, second in itertools.combinations(part, 2):
        if not _same_splits(first, second):
            continue
        runs = first.report["runs"]
        ratio = metrics.test_train_ratio(runs)
        for epoch, measure in itertools.product(_epochs(part), ("wa", "ua")):
            theirs, ours = (
                [run[epoch][measure] for run in row.report["runs"]]
                for row in (first, second)
            )
            compared.append(
                {
                    "row": second.name,
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
        key = pair["row"], pair["against"]
        line = lines.setdefault(
            key, {"pair": f"{key[0]} against {key[1]}", "n": str(pair["n"])}
        )
        late = (
            ", last epoch" if pair["epoch"] == "last" and len(_epochs(part)) > 1 else ""
        )
        title = metrics.TITLES[pair["measure"]] + late
        line[title] = f"{pair['mean']:+.2f}"
        if pair["ci95"] is not None:
            line[title] += f" ± {pair['ci95']:.2f}"
        line[f"p ({title})"] = "" if pair["p"] is None else f"{pair['p']:.2g}"
    return list(lines.values())


def other_splits(part: Sequence[Row]) -> list[str]:
    """The pairs of rows that were trained on different splits."""
    return [
        f"{second.name} and {first.name}"
        for first, second in itertools.combinations(part, 2)
        if not _same_splits(first, second)
    ]


def long_rows(table: str, rows: Sequence[Row]) -> list[dict]:
    """One object for each row, epoch and measure, with the paper's figure for it."""
    found = []
    for row in rows:
        _, figures = row.published(table)
        for epoch in _epochs([row]):
            of_paper = figures if epoch == _epochs([row])[0] else ()
            for measure, figure in itertools.zip_longest(metrics.NAMES, of_paper):
                found.append(
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
                )
    return found


def _csv(rows: Iterable[dict]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    return text.csv_text(list(rows[0]), [row.values() for row in rows])
