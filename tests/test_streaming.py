"""Segments read chunk by chunk train the same model as resident ones."""

import json
import os
import unittest.mock

import jax
import numpy as np
import pytest
from commands import SERVER
from helpers import last_params

from glam_jax import feeds, figures, train


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    keep = ("run", "epoch", "loss", "wa", "ua")
    return [{key: json.loads(line)[key] for key in keep} for line in lines]


def train_both(config, folder):
    """Trains with resident and with streamed segments, as users compile it."""
    os.environ.pop("XLA_FLAGS", None)
    jax.config.update("jax_num_cpu_devices", 4)
    figures.write = lambda folder, trainings: None
    for config.input, other in (("resident", "Stream"), ("stream", "Resident")):
        with unittest.mock.patch.object(feeds, other, None):  # it is not made
            train.train_and_evaluate(config, str(folder / config.input))


@pytest.mark.parametrize("num_runs", [1, 6], ids=["data", "runs"])
def test_a_stream_equals_resident_segments(config, tmp_path, num_runs):
    """Bit for bit, over four devices that share batches or have runs of their own.

    In a process of its own, without the tests' XLA_FLAGS: unoptimised, the two programs
    round the last digit of a parameter otherwise.
    """
    config.update(protocol="speaker", num_runs=num_runs)
    process = SERVER.Process(target=train_both, args=(config, tmp_path))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    resident, stream = tmp_path / "resident", tmp_path / "stream"
    assert rows(stream) == rows(resident)
    ours, theirs = (last_params(folder, num_runs - 1) for folder in (stream, resident))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
