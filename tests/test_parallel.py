"""Runs beside each other equal runs alone, however they lie on devices."""

import functools
import json
import math
import os
import subprocess
import sys

import jax
import joblib
import numpy as np
import pytest
from helpers import assert_trees_close, last_params, shorten, speech_like, window

from configs import demo as demo_config
from configs import iemocap
from glam_jax import checkpoint, models, parallel, steps, train


@pytest.mark.parametrize(
    ("mode", "num_runs", "runs_per_group", "expected"),
    [
        ("auto", 1, 100, (4, parallel.AXIS, 1)),
        ("auto", 3, 100, (4, parallel.AXIS, 1)),
        ("auto", 4, 100, (4, None, 1)),
        ("auto", 100, 64, (4, None, 13)),  # 50 + 50 runs, not 64 + 36
        ("auto", 100, 1000, (4, None, 25)),
        ("data", 100, 100, (4, parallel.AXIS, 1)),
        ("runs", 2, 100, (2, None, 1)),
        ("runs", 9, 1, (4, None, 1)),
    ],
)
def test_layouts(mode, num_runs, runs_per_group, expected):
    layout = parallel.layout(mode, num_runs, runs_per_group)
    ours = len(layout.devices), layout.axis, layout.runs_per_device
    assert ours == expected


def test_what_is_placed_comes_back_and_the_last_run_fills_up():
    layout = parallel.layout("runs", 7, 8)
    assert layout.group_size == 8
    trees = [{"x": np.full(3, k), "y": np.int32(k)} for k in range(7)]
    placed = layout.place(trees)
    assert placed["x"].shape == (4, 2, 3)
    fetched = layout.fetch(placed)
    np.testing.assert_array_equal(fetched["x"][:7], [tree["x"] for tree in trees])
    np.testing.assert_array_equal(fetched["y"], [0, 1, 2, 3, 4, 5, 6, 6])


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("model_name", ["glam", "aacnn"])
def test_two_runs_on_a_device_take_the_steps_of_one(platform, model_name):
    """In turn, as on a CPU, and by vmap, as elsewhere; of two and of four steps.

    With SGD: Adam would make steps of the rounding that is the gradient of a bias
    before BatchNorm.
    """
    recipe = iemocap.get_config()
    recipe.update(batch_size=8, optimizer="sgd", learning_rate=0.01)
    data = speech_like(32)
    model = models.create_model(model_name)
    optimizer = steps.create_optimizer(recipe)
    train = functools.partial(steps.train_steps, recipe, model, optimizer)
    create = jax.jit(
        functools.partial(steps.create_state, model, optimizer, data.features.shape[1:])
    )
    random = np.random.default_rng(0)
    orders = [random.permutation(32).reshape(4, 8) for _ in range(2)]
    pairs = np.stack([steps.pair(seed, 0, orders[seed]) for seed in (0, 1)])
    windows = [window(stop=2, seed=0), window(stop=4, seed=1, steps_per_epoch=3)]
    states = [create(seed) for seed in (0, 1)]
    mapped = parallel.over_runs(train, (False, True, False, False), platform)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    together = jax.jit(mapped)(
        stacked, data, pairs, jax.tree.map(lambda *w: np.stack(w), *windows)
    )
    alone = jax.jit(train)
    for k in range(2):
        expected = alone(states[k], data, pairs[k], windows[k])
        ours = jax.tree.map(lambda leaf, k=k: leaf[k], together)
        assert ours.step == windows[k].stop
        np.testing.assert_allclose(ours.loss_sum, expected.loss_sum, rtol=1e-5)
        assert_trees_close(ours.params, expected.params, 1e-4)
        assert_trees_close(ours.batch_stats, expected.batch_stats, 1e-4)


def test_compiled_programs_are_kept_in_the_users_cache_folder(tmp_path, monkeypatch):
    kept = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parallel.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == kept  # chosen by the user
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        parallel.use_compilation_cache()
        folder = str(tmp_path / "glam_jax" / "compiled")
        assert jax.config.jax_compilation_cache_dir == folder
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)


@pytest.mark.parametrize("chosen", [None, 3])
def test_cores_are_devices_unless_the_user_says_how_many(chosen):
    script = (
        "import jax; from glam_jax import parallel; parallel.use_cpu_cores(); "
        "print(jax.device_count())"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_NUM_CPU_DEVICES": str(chosen)} if chosen else {}
    printed = subprocess.check_output([sys.executable, "-c", script], env=environment)
    cores = 2 ** int(math.log2(min(joblib.cpu_count(), 8)))
    assert int(printed) == (chosen or cores)


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def six_runs(data_dir, tmp_path_factory):
    """Six folds of different sizes in one group, two on each of four devices.

    With SGD: programs for one device and for four round one digit of some parameters
    otherwise, and Adam makes steps of the rounding that is a bias's gradient.
    """
    config = shorten(demo_config.get_config(), data_dir)
    config.update(protocol="speaker", num_runs=6, model="mhcnn", mixup_alpha=0.5)
    config.update(optimizer="sgd", learning_rate=0.01)
    folder = tmp_path_factory.mktemp("six")
    return config, folder, train.train_and_evaluate(config, str(folder))


def test_runs_in_a_group_equal_runs_alone(six_runs, tmp_path):
    config, folder, _ = six_runs
    together = rows(folder)
    assert len({row["segments"] for row in together}) > 1
    for number in (0, 5):
        alone = config.copy_and_resolve_references()
        alone.update(num_runs=number + 1, runs_per_group=1, parallel="runs")
        train.train_and_evaluate(alone, str(tmp_path / str(number)))
        ours = [row for row in together if row["run"] == number]
        theirs = [row for row in rows(tmp_path / str(number)) if row["run"] == number]
        for a, b in zip(ours, theirs, strict=True):
            assert (a["epoch"], a["fold"], a["wa"], a["ua"]) == (
                b["epoch"],
                b["fold"],
                b["wa"],
                b["ua"],
            )
            np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
        assert_trees_close(
            last_params(folder, number),
            last_params(tmp_path / str(number), number),
            1e-4,
        )


def test_a_group_stopped_in_the_middle_ends_with_the_same_numbers(
    six_runs, tmp_path, monkeypatch
):
    """A crash after half of a group's checkpoints: some runs are an epoch ahead."""
    config, folder, report = six_runs
    save = checkpoint.save

    def save_some(manager, state, row):
        if row is not None and (row["run"], row["epoch"]) == (3, 1):
            raise RuntimeError("crash")
        save(manager, state, row)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_some)
        with pytest.raises(RuntimeError, match="crash"):
            train.train_and_evaluate(config, str(tmp_path))
    assert (tmp_path / "checkpoints" / "run_000").exists()
    assert train.train_and_evaluate(config, str(tmp_path)) == report
    key = lambda row: (row["run"], row["epoch"])  # noqa: E731
    ours, theirs = sorted(rows(tmp_path), key=key), sorted(rows(folder), key=key)
    for a, b in zip(ours, theirs, strict=True):
        assert a | {"segments_per_second": 0} == b | {"segments_per_second": 0}
