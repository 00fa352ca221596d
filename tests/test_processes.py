"""Two processes of two devices each equal one process of four."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from glam_jax import train

ROOT = pathlib.Path(__file__).parents[1]


# The clocks of two hosts differ: one would do a step in a call, the other all.
ONE_OF_TWO = """
import runpy, sys
from glam_jax import program
program.FIRST_ROWS = 1
program.SECONDS_PER_CALL = 1e6 * int(sys.argv[-1].partition("=")[2])
runpy.run_module("glam_jax.main", run_name="__main__", alter_sys=True)
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def train_in_two_processes(config, *folders):
    """Trains by the command, as two hosts would; returns what the first one printed.

    And what both said of errors. They have one folder, or each has its own.
    """
    address = f"127.0.0.1:{free_port()}"
    fields = ("data_dir", "model", "segment", "hop", "test_hop", "batch_size")
    fields += ("num_runs", "num_epochs", "checkpoint_every")
    fields += ("optimizer", "learning_rate", "input")
    command = ["--config=configs/demo.py"]
    command += [f"--config.{name}={config[name]}" for name in fields]
    command += [f"--coordinator={address}", "--num_processes=2"]
    places = [f"--workdir={folder}" for folder in (folders[0], folders[-1])]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(ROOT / "tests")  # where the network is
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", ONE_OF_TWO, *command, places[process]),
                f"--process_id={process}",
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert "epoch" not in outputs[1][0]  # the first process speaks for all
    if len(folders) == 1:
        for process, (_, errors) in zip(processes, outputs, strict=True):
            assert process.returncode == 0, errors[-3000:]
    return outputs[0][0], [errors for _, errors in outputs]


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = map(json.loads, lines)
    return sorted(found, key=lambda row: (row["run"], row["epoch"]))


@pytest.mark.slow  # test_streaming.py compares within one process
@pytest.mark.parametrize(
    ("num_runs", "mode"), [(1, "stream"), (5, "resident")], ids=["data", "runs"]
)
def test_two_processes_equal_one(config, tmp_path, num_runs, mode):
    """A run whose batches all share, and five runs, two of them on one device.

    In the first, each process reads its part of the batches from the records.
    With SGD: Adam divides small gradients by their size, and rounding with them.
    """
    config.update(num_runs=num_runs, num_epochs=1, optimizer="sgd", learning_rate=0.01)
    one, two = tmp_path / "one", tmp_path / "two"
    report = train.train_and_evaluate(config, str(one))
    config.input = mode
    printed, _ = train_in_two_processes(config, two)
    assert "4 x cpu in 2 processes" in printed
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        assert (ours["wa"], ours["ua"]) == (theirs["wa"], theirs["ua"])
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
    # Checkpoints of two processes are read by one with other devices.
    for name in ("report.json", "predictions.csv"):
        (two / name).unlink()
    assert train.train_and_evaluate(config, str(two))["summary"] == report["summary"]


@pytest.mark.slow  # it needs two processes
def test_a_folder_that_processes_do_not_share_is_refused(config, tmp_path):
    _, errors = train_in_two_processes(config, tmp_path / "one", tmp_path / "two")
    for said in errors:
        assert "is not the same folder for all processes" in said
    assert not (tmp_path / "one/checkpoints").exists()
