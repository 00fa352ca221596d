"""The benchmark: its rows, its cases, and one that is timed for real."""

import json

import numpy as np
import pytest

from glam_jax import input_pipeline, runs
from glam_jax.benchmark import local
from glam_jax.benchmark import rows as rows_lib

ROWS = [
    rows_lib.Row("local", "glam", "f32,runs=1", "train_ratio", (0.9, 0.8, 1.2), "x"),
    rows_lib.Row("cuda", "", "", "collectives", (3.0,), ""),
]


def test_the_table_shows_median_and_range():
    lines = rows_lib.table(ROWS).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "glam",
        "f32,runs=1",
        "train_ratio",
        "0.9",
        "0.8 - 1.2",
        "x",
    ]
    assert "3" in lines[3]


def test_json_lines_hold_an_object_for_each_row():
    first, second = map(json.loads, rows_lib.json_lines(ROWS).splitlines())
    assert first == {
        "target": "local",
        "model": "glam",
        "case": "f32,runs=1",
        "metric": "train_ratio",
        "value": 0.9,
        "unit": "x",
    }
    assert second["value"] == 3.0


def test_a_repeated_data_set_has_every_segment_several_times(config):
    one = input_pipeline.load(config)
    three = local.repeated(one, 3)
    assert len(three.ids) == len(three.labels) == 3 * len(one.ids)
    assert three.features.shape == (3 * one.features.shape[0], *one.features.shape[1:])
    again = three.testing_segments(np.array([5 + 2 * len(one.ids)]))
    np.testing.assert_array_equal(
        three.features[again], one.features[one.testing_segments(np.array([5]))]
    )
    (run,) = runs.plan(config, three)
    assert len(run.split.train) == int(0.8 * len(three.ids))


@pytest.mark.slow  # the others do not time
def test_cases_are_timed_in_processes_of_their_own(config):
    config.runs_per_group = 1
    cases = [local.varied(config, 2, "runs=1", num_runs=1)]
    found = {row.metric: row for row in local.timed(cases, repeats=2)}
    assert set(found) == {
        "train_segments_per_second",
        "infer_segments_per_second",
        "start_seconds",
        "peak_memory_mb",
    }
    assert all(row.case == "f32,runs=1" for row in found.values())
    assert len(found["train_segments_per_second"].values) == 2
    assert all(min(row.values) > 0 for row in found.values())


def test_the_peer_is_compared_for_its_model_only(config):
    config.model = "mhcnn"
    with pytest.raises(ValueError, match="compares glam on the CPU"):
        list(local.compared(config, 1, 1, "torch"))
