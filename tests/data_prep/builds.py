"""Runs the command that prepares, and reads what it leaves."""

import contextlib
import io
import pathlib
import signal
import tempfile

import commands
import tensorflow_datasets as tfds
from absl import flags
from absl.testing import flagsaver

from data_prep import build, claims, signals

build.define_flags()  # as where it is run

# Of most tests: segments that fit into a recording of 0.3 s.
SHORT = {"segment": 2000, "hop": 1000}
# In `run_script`: the command itself.
BUILD = "from absl import app\nbuild.define_flags()\napp.run(build.main)"


def run(**settings) -> tuple[str, str]:
    """Runs the command in this process, with one worker unless told otherwise.

    Returns:
      What it prints and the error it ends with, '' when it succeeds.
    """
    texts = {key: str(value) for key, value in ({"workers": 1} | settings).items()}
    output, error = io.StringIO(), ""
    flags.FLAGS.mark_as_parsed()
    handlers = {number: signal.getsignal(number) for number in signals.SIGNALS}
    try:
        with flagsaver.as_parsed(**texts), contextlib.redirect_stdout(output):
            build.main(["build"])
    except SystemExit as exit_:
        error = str(exit_.code)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return output.getvalue(), error


def run_script(
    script: str, *arguments, run=commands.run_command, **settings
) -> commands.Finished:
    """Runs the command in a process of its own, after some Python."""
    imports = "import sys\nfrom data_prep import build, builder, preparation"
    flags = [f"--{key}={value}" for key, value in settings.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(f"{imports}\n{script}\n")
        file.flush()
        return run(file.name, *arguments, *flags)


def left(data_dir: pathlib.Path) -> list[pathlib.Path]:
    """The files in a data folder, without the one that builds are kept apart by."""
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    return [path for path in files if path.name != claims.LOCK]


def only_data_set(data_dir: pathlib.Path) -> pathlib.Path:
    """The folder of the only data set that readers would find in a data folder."""
    (info,) = data_dir.rglob("dataset_info.json")
    return info.parent


def assert_same_records(one: pathlib.Path, other: pathlib.Path) -> None:
    """Compares two data sets bit for bit, in the order of their records."""
    splits = tfds.builder_from_directory(one).info.splits
    assert set(tfds.builder_from_directory(other).info.splits) == set(splits)
    for split in splits:
        for first, second in zip(read(one, split), read(other, split), strict=True):
            assert first.pop("features").tobytes() == second.pop("features").tobytes()
            assert first == second


def read(folder: pathlib.Path, split: str = "train") -> list[dict]:
    """Reads the records as training does."""
    source = tfds.builder_from_directory(folder).as_data_source(split)
    return list(source.__getitems__(range(len(source))))


def ids(folder: pathlib.Path, split: str = "train") -> list[str]:
    return [record["id"].decode() for record in read(folder, split)]
