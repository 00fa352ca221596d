"""Names of a user's own code: what is found, and what is said where nothing is."""

import sys

import pytest

from data_prep import names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with modules in it, forgotten afterwards."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "own_module.py").write_text("class Own: pass\n")
    (tmp_path / "own_needs.py").write_text("import own_nowhere\n")
    (tmp_path / "own_wrong.py").write_text("from math import own_function\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_name_in_the_current_folder_is_found(folder):
    assert names.load("own_package.own_module:Own", "model").__name__ == "Own"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_package", "model 'own_package' is not of the form package.module:Name"),
        ("own package:x", "is not of the form"),
        ("own_nothing:Own", "there is no module 'own_nothing' in FOLDER, nor"),
        ("own_package.other:Own", "there is no module 'own_package.other' in FOLDER"),
        ("own_package.own_module:Other", r"there is no 'Other' in FOLDER.*own_module"),
        ("own_needs:Own", "cannot be imported .No module named 'own_nowhere'"),
        ("own_wrong:Own", "cannot be imported .cannot import name 'own_function'"),
    ],
)
def test_what_is_not_there_is_named_with_the_folder(folder, name, message):
    with pytest.raises(ValueError, match=message.replace("FOLDER", str(folder))):
        names.load(name, "model")
