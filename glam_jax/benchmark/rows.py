"""What a benchmark found, as a table and as JSON lines."""

import dataclasses
import json
from collections.abc import Iterable

import numpy as np
import tabulate

SHORT_NAMES = {"float32": "f32", "bfloat16": "bf16"}  # in the names of cases


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
      target: 'local', 'tpu:TOPOLOGY' or 'cuda'.
      model: A name of `models.MODELS`; '' for what has no model.
      case: What was set, such as `f32,runs=8`.
      metric: What was measured.
      values: A value for each repetition.
      unit: The unit of the values.
    """

    target: str
    model: str
    case: str
    metric: str
    values: tuple[float, ...]
    unit: str


def table(rows: Iterable[Row]) -> str:
    """The median of each row, and its range where it was repeated."""
    lines = []
    for row in rows:
        spread = ""
        if len(row.values) > 1:
            spread = f"{min(row.values):.4g} - {max(row.values):.4g}"
        median = f"{np.median(row.values):.4g}"
        lines.append((row.model, row.case, row.metric, median, spread, row.unit))
    header = ("model", "case", "metric", "median", "range", "unit")
    return tabulate.tabulate(
        lines, header, "github", disable_numparse=True, colalign=("left",) * 6
    )


def json_lines(rows: Iterable[Row]) -> str:
    """An object on a line for each row: its names, the median as `value`, its unit."""
    return "".join(
        json.dumps(
            {
                "target": row.target,
                "model": row.model,
                "case": row.case,
                "metric": row.metric,
                "value": float(np.median(row.values)),
                "unit": row.unit,
            }
        )
        + "\n"
        for row in rows
    )
