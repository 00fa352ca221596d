"""Segments read chunk by chunk train the same model as resident ones."""

import json

import jax
import numpy as np
import pytest
from helpers import last_params

from glam_jax import train


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    keep = ("run", "epoch", "loss", "wa", "ua")
    return [{key: json.loads(line)[key] for key in keep} for line in lines]


@pytest.mark.parametrize("num_runs", [1, 6], ids=["data", "runs"])
def test_a_stream_equals_resident_segments(config, tmp_path, num_runs):
    """Bit for bit, over four devices that share batches or have runs of their own."""
    config.update(protocol="speaker", num_runs=num_runs)
    trained = {}
    for config.input in ("resident", "stream"):
        folder = tmp_path / config.input
        train.train_and_evaluate(config, str(folder))
        trained[config.input] = rows(folder), last_params(folder, num_runs - 1)
    assert trained["stream"][0] == trained["resident"][0]
    jax.tree.map(
        np.testing.assert_array_equal, trained["stream"][1], trained["resident"][1]
    )
