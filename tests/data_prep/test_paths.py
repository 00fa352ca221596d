"""Paths that a user gives, and disks that are full."""

import errno

import pytest

from data_prep import paths


def test_a_home_is_found_and_a_bucket_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.local("~/x", "--out") == tmp_path / "x"
    with pytest.raises(ValueError, match=r"--out=s3://b/x: s3:// is not read"):
        paths.local("s3://b/x", "--out")


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("write() failed: No space left on device; writing /x"),
    ],
)
def test_a_full_disk_is_one_sentence_whatever_library_met_it(raised, tmp_path):
    message = f"^the disk of {tmp_path} is full: make room, or give another --workdir;"
    with (
        pytest.raises(paths.DiskFull, match=message),
        paths.written(tmp_path, paths.make_room("--workdir")),
    ):
        try:
            raise raised
        except Exception as error:  # as Orbax's threads do
            raise ValueError("cannot save") from error


def test_the_innermost_disk_is_named_and_other_errors_pass(tmp_path):
    with (
        pytest.raises(paths.DiskFull, match="of inner is full"),
        paths.written("o", "x"),
        paths.written("inner", "y"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyError), paths.written(tmp_path, "x"):
        raise KeyError
