"""CSV files: any text comes back, and none is run by a spreadsheet."""

import pytest

from data_prep import text

ODD = [
    *("a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", "", " ", "ä", "'", "''", "'a", "a'"),
    *("=1+1", "+1+1", "-x", "@x", "\t", "\r", "'=1", "''=1", "'-1", "-", "+", "-1-1"),
    *("-1.5", "+2", "-1e-3", "-.5", "1"),
]


def test_any_text_comes_back(tmp_path):
    path = tmp_path / "odd.csv"
    rows = [[cell] for cell in ODD] + [
        [first + second] for first in ODD for second in ODD
    ]
    text.write_text(path, text.csv_text(["=name"], rows))
    assert text.read_csv(path) == (["=name"], rows)
    assert [file.name for file in tmp_path.iterdir()] == ["odd.csv"]


def test_no_text_is_run_by_a_spreadsheet_and_numbers_stay_numbers():
    assert text.csv_text(["=1", "-1.5", "-x"], [[-1.5, None, float("inf")]]) == (
        "'=1,-1.5,'-x\n-1.5,,inf\n"
    )


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path):
    """With a byte-order mark, its own ends of lines, and an empty last line."""
    path = tmp_path / "saved.csv"
    path.write_bytes("\ufeffname,value\r\na,1\r\n\r\n".encode())
    assert text.read_csv(path) == (["name", "value"], [["a", "1"]])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a," + b"x" * 200_000])
def test_a_file_that_is_no_csv_is_named(tmp_path, content):
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.csv is not a CSV file"):
        text.read_csv(path)
