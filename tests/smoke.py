"""Prepares, trains, resumes and predicts as a user does, on the smallest data.

  .venv/bin/python tests/smoke.py

The package must be installed; pytest and the extra `test` need not be. .ci/run calls it
on the newest Python.
"""

import csv
import importlib.metadata
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile

import glam_jax

ROOT = pathlib.Path(__file__).parents[1]
STOPPED = 75  # exit status of a training that was told to stop, and saved


def start(module: str, *arguments: str) -> subprocess.Popen:
    """Starts a command of the package."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT)


def finish(process: subprocess.Popen, status: int = 0) -> None:
    """Waits for a command, which must end with this status."""
    found = process.wait(timeout=300)
    if found != status:
        sys.exit(f"{process.args} ended with status {found} instead of {status}")


def wait_for_an_epoch(process: subprocess.Popen, workdir: pathlib.Path) -> None:
    """Returns when the first epoch of a training is done."""
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        if process.poll() is not None:
            sys.exit(f"{process.args} ended before its first epoch")
        time.sleep(0.02)


def check_prediction(workdir: pathlib.Path, corpus: pathlib.Path) -> None:
    """The trained model, loaded, says of a wav what the training wrote of it."""
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    wave, rate = soundfile.read(next(corpus.rglob(f"{row['utterance']}.wav")))
    model = glam_jax.load(workdir)
    found = model.probabilities(wave, rate)
    expected = [float(row[name]) for name in model.class_names]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    told = [f"{n} {p:.2f}" for n, p in zip(model.class_names, found, strict=True)]
    print(f"{row['utterance']}, which is {row['label']}: {', '.join(told)}")


def main() -> None:
    version = importlib.metadata.version("jax")
    print(f"Python {platform.python_version()}, JAX {version}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data, workdir = pathlib.Path(folder, "data"), pathlib.Path(folder, "run")
        cut = {"segment": 8000, "hop": 8000}  # half a second
        options = [f"--{name}={value}" for name, value in cut.items()]
        finish(
            start("data_prep.build", "--corpus=demo", f"--data_dir={data}", *options)
        )
        cut |= {"test_hop": 8000, "num_runs": 1, "num_epochs": 3, "checkpoint_every": 1}
        options = [f"--config.{name}={value}" for name, value in cut.items()]
        training = [
            "--config=configs/demo.py",
            f"--config.data_dir={data}",
            f"--workdir={workdir}",
            *options,
        ]
        first = start("glam_jax.main", *training)
        wait_for_an_epoch(first, workdir)
        first.send_signal(signal.SIGTERM)
        finish(first, STOPPED)
        finish(start("glam_jax.main", *training))
        check_prediction(workdir, data / "demo_corpus")


if __name__ == "__main__":
    main()
