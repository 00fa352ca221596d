"""Tables of cells as Markdown and as LaTeX; any text survives in both."""

import itertools
import re
import unicodedata
from collections.abc import Sequence

import tabulate

from data_prep import text

Line = dict[str, str]  # cells by column

# What a numeric cell may be: 3, 82.00, 82.00 ± 2.00, +1.50 [-0.10, +3.10], <0.0001.
_NUMBER = r"[+<-]?\d+(?:\.\d+)?"
_NUMERIC = re.compile(rf"{_NUMBER}(?: ± {_NUMBER}| \[{_NUMBER}, {_NUMBER}\])?")
# A number up to its decimal point, and what follows up to the next number.
_PIECE = re.compile(r"([+<-]?\d+)((?:\.\d+)?[^\d+-]*)")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
} | {char: rf"\{char}" for char in "&%$#_{}"}
_LATEX['"'] = "''"
# Letters that pdflatex sets in its oldest fonts: with these accents, and these alone.
_ACCENTS = set(map(chr, (*range(0x300, 0x305), *range(0x306, 0x309)))) | {
    "\u030a",
    "\u030b",
    "\u030c",
    "\u0327",
}
_LETTERS = "ßæœøłıÆŒØŁ"


class Bold(str):
    """A cell in bold."""


def markdown_text(words: str) -> str:
    """A text in Markdown, in one line and as it is."""
    return re.sub(r"([\\|<*`])", r"\\\1", text.printable(words))


def markdown(lines: Sequence[Line]) -> str:
    """Lines of cells as a table of Markdown."""
    return tabulate.tabulate(
        [[_markdown_cell(cell) for cell in line.values()] for line in lines],
        headers=[markdown_text(column) for column in lines[0]],
        tablefmt="github",
        disable_numparse=True,
    )


def _markdown_cell(cell: str) -> str:
    return (
        f"**{markdown_text(cell)}**" if isinstance(cell, Bold) else markdown_text(cell)
    )


def latex_text(words: str) -> str:
    """A text in LaTeX. What pdflatex has no letters for stands there by its number."""
    return "".join(map(_latex_char, text.printable(words)))


def _latex_char(char: str) -> str:
    if char in _LATEX or char.isascii():
        return _LATEX.get(char, char)
    letter, *accents = unicodedata.normalize("NFD", char)
    accented = letter.isascii() and len(accents) == 1 and accents[0] in _ACCENTS
    if char in _LETTERS or accented:
        return char
    return rf"\ifdefined\Umathcode {char}\else U+{ord(char):04X}\fi{{}}"


def latex(lines: Sequence[Line], caption: str, label: str) -> str:
    r"""Lines of cells as a table of LaTeX, which needs the package booktabs alone.

    The numbers of a column stand with their decimal points below each other: each is
    split there into two columns. Columns whose titles are 'TITLE, GROUP' stand below
    their group.

    Args:
      lines: The cells. The first column is text, the others are numbers where all of
        their cells are.
      caption: The caption, any text.
      label: What `\ref` calls the table.
    """
    columns = [_Column(title, [line[title] for line in lines]) for title in lines[0]]
    columns[0].as_text()
    letters = sum(2 + max(map(len, (c.title, *c.plain))) for c in columns)
    size = r"\footnotesize" if letters < 125 else r"\scriptsize"
    body = [
        " & ".join(column.cells[k] for column in columns) + r" \\"
        for k in range(len(lines))
    ]
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\centering{size}\setlength{{\tabcolsep}}{{3pt}}",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}{''.join(c.spec for c in columns)}@{{}}}}",
            r"\toprule",
            *_latex_head(columns),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
        ]
    )


class _Column:
    """A column of a LaTeX table.

    Attributes:
      title: Its title.
      plain: The cells as they were given.
      group: What the titles of several columns have in common, '' for nothing.
      spec: Its part of the tabular's specification.
      width: How many columns of the tabular it takes.
      cells: Its part of each line.
    """

    def __init__(self, title: str, cells: Sequence[str]):
        self.title, _, self.group = title.partition(", ")
        self.plain = cells
        self.as_text()
        if all(_NUMERIC.fullmatch(cell) for cell in cells if cell):
            self._as_numbers()

    def as_text(self) -> None:
        """Makes it a column of text, on the left."""
        self.spec, self.width = "l", 1
        self.cells = [latex_text(cell) for cell in self.plain]

    def _as_numbers(self) -> None:
        split = [
            [part for piece in _PIECE.findall(cell) for part in piece]
            for cell in self.plain
        ]
        self.width = max(map(len, split))
        rows = [row + [""] * (self.width - len(row)) for row in split]
        if all(row[-1] == "" for row in rows):  # whole numbers
            self.width -= 1
        self.spec = "@{}".join(("r", "l")[k % 2] for k in range(self.width))
        self.cells = [
            " & ".join(_latex_numbers(row[: self.width], isinstance(cell, Bold)))
            for cell, row in zip(self.plain, rows, strict=True)
        ]


def _latex_numbers(parts: Sequence[str], bold: bool) -> list[str]:
    """The parts of a numeric cell; its first number in bold or not."""
    written = []
    for number, part in enumerate(parts):
        rest = part.lstrip("+<-.0123456789")
        digits = re.sub(r"^([+<-])", r"$\1$", part.removesuffix(rest))
        if bold and number < 2 and digits:
            digits = rf"\textbf{{{digits}}}"
        written.append(digits + rest.replace("±", r"$\pm$").replace(" ", "~"))
    return written


def _latex_head(columns: Sequence[_Column]) -> list[str]:
    """The lines of titles: the groups, where there are any, and the columns."""
    grouped = [
        (group, sum(column.width for column in members))
        for group, found in itertools.groupby(columns, lambda c: c.group)
        for members in [list(found)]
    ]
    lines, first = [], 1
    if any(group for group, _ in grouped):
        cells = [_over(width, latex_text(group)) for group, width in grouped]
        lines.append(" & ".join(cells) + r" \\")
        for group, width in grouped:
            if group:
                lines.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
            first += width
    titles = [_over(column.width, latex_text(column.title)) for column in columns[1:]]
    return [*lines, " & ".join([latex_text(columns[0].title), *titles]) + r" \\"]


def _over(width: int, title: str) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{title}}}"
