"""The figures that the paper and its reference implementation publish, in percent."""

from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """A published mean, and the standard deviation over seeds where there is one."""

    mean: float
    sd: float | None = None


def _figures(text: str) -> Sequence[Figure]:
    """'81.18+-1.47 79.25+-1.88' -> figures, in the order of `metrics.NAMES`."""
    return tuple(Figure(*map(float, word.split("+-"))) for word in text.split())


# (table, subset, row of it): WA, UA and, where published, macro F1 and weighted F1.
FIGURES = {
    key: _figures(text)
    for key, text in {
        ("main", "impro", "apcnn"): "70.73+-2.57 67.96+-2.66 68.26+-3.17 70.20+-3.00",
        ("main", "impro", "mhcnn"): "76.09+-2.01 73.87+-2.31 74.27+-2.25 75.91+-2.05",
        ("main", "impro", "aacnn"): "78.47+-2.42 76.68+-3.29 76.69+-3.27 78.29+-2.58",
        ("main", "impro", "glam"): "81.18+-1.47 79.25+-1.88 79.87+-1.64 80.99+-1.50",
        ("main", "script", "apcnn"): "55.95+-2.93 54.86+-2.74 48.75+-3.71 51.15+-3.87",
        ("main", "script", "mhcnn"): "64.57+-2.12 63.42+-2.14 61.46+-2.50 63.36+-2.56",
        ("main", "script", "aacnn"): "67.20+-4.78 65.94+-6.19 64.82+-7.63 66.55+-6.99",
        ("main", "script", "glam"): "71.44+-2.05 70.39+-2.13 69.56+-2.13 70.91+-2.12",
        ("main", "full", "apcnn"): "62.53+-1.43 62.80+-1.53 61.89+-1.52 62.12+-1.50",
        ("main", "full", "mhcnn"): "69.80+-1.69 70.09+-1.74 69.65+-1.73 69.68+-1.71",
        ("main", "full", "aacnn"): "70.94+-5.08 71.04+-4.84 70.59+-6.34 70.71+-6.44",
        ("main", "full", "glam"): "73.70+-1.25 73.90+-1.31 73.51+-1.29 73.60+-1.27",
        (
            "split811",
            "impro",
            "glam",
        ): "81.04+-2.65 75.89+-3.94 76.79+-3.78 80.78+-2.75",
        (
            "split811",
            "script",
            "glam",
        ): "69.80+-3.16 70.63+-3.17 68.85+-3.40 69.30+-3.42",
        ("split811", "full", "glam"): "71.63+-2.12 72.56+-2.05 71.53+-2.16 71.42+-2.19",
        ("split811", "impro", "aacnn"): "78.65 74.31",
        ("split811", "script", "aacnn"): "65.49 65.87",
        ("split811", "full", "aacnn"): "67.71 68.67",
        ("split811", "impro", "mhcnn"): "76.13 71.15",
        ("split811", "script", "mhcnn"): "63.03 64.37",
        ("split811", "full", "mhcnn"): "67.67 68.65",
        ("split811", "impro", "apcnn"): "69.93 62.70",
        ("split811", "script", "apcnn"): "53.48 55.77",
        ("split811", "full", "apcnn"): "60.33 62.16",
        ("ablation", "impro", "multiscale"): "80.89+-1.43 78.85+-1.65",
        ("ablation", "impro", "multiscale_mha"): "80.43+-1.53 78.92+-1.92",
        ("ablation", "impro", "multiscale_aa"): "80.61+-1.75 79.09+-1.75",
        ("ablation", "impro", "glam"): "81.18+-1.47 79.25+-1.88",
        ("alpha", "impro", "0"): "80.44 78.88",
        ("alpha", "impro", "0.3"): "81.15 79.26",
        ("alpha", "impro", "0.5"): "81.18 79.25",
        ("alpha", "impro", "0.8"): "80.97 78.97",
        ("alpha", "impro", "1"): "80.96 79.19",
        ("alpha", "impro", "2"): "80.80 79.18",
        ("alpha", "impro", "3"): "80.61 78.95",
    }.items()
}
