"""Runs beside each other equal runs alone, however they lie on devices."""

import functools
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import joblib
import numpy as np
import pytest
from helpers import (
    assert_trees_close,
    last_params,
    mixed,
    numbers,
    shorten,
    speech_like,
    window,
)
from networks import TINY

from configs import demo as demo_config
from configs import iemocap
from glam_jax import checkpoint, parallel, steps, train

pytestmark = pytest.mark.usefixtures("without_figures")
ONE_HOST = parallel.Machine(processes=1, devices_per_process=4, memory=1000)
FOUR_HOSTS = parallel.Machine(processes=4, devices_per_process=4, memory=1000)


@pytest.mark.parametrize(
    ("machine", "options", "expected"),
    [
        (ONE_HOST, {"num_runs": 1}, (True, 4, 1)),
        (ONE_HOST, {"num_runs": 3}, (True, 4, 1)),
        (ONE_HOST, {"num_runs": 4}, (False, 4, 1)),
        (ONE_HOST, {"num_runs": 100, "runs_per_group": 64}, (False, 4, 13)),  # 50 + 50
        (ONE_HOST, {"num_runs": 100}, (False, 4, 9)),  # 36 + 36 + 28; ten would fit
        (ONE_HOST, {"num_runs": 100, "mode": "data"}, (True, 4, 1)),
        (ONE_HOST, {"num_runs": 2, "mode": "runs"}, (False, 2, 1)),
        (ONE_HOST, {"num_runs": 1, "splittable": False}, (False, 1, 1)),
        (ONE_HOST, {"num_runs": 9, "runs_per_group": 1, "mode": "runs"}, (False, 4, 1)),
        (FOUR_HOSTS, {"num_runs": 160}, (False, 4, 10)),
        (FOUR_HOSTS, {"num_runs": 161}, (False, 4, 6)),  # 96 + 65
        (FOUR_HOSTS, {"num_runs": 100, "runs_per_group": 64}, (False, 4, 4)),
        (FOUR_HOSTS, {"num_runs": 2, "mode": "runs"}, (False, 4, 1)),
        (FOUR_HOSTS, {"num_runs": 15}, (True, 4, 1)),
    ],
)
def test_plans(machine, options, expected):
    """A device has memory for ten runs: 80 % of 1000 bytes, 80 of them for a run."""
    plan = parallel.plan_layout(machine, bytes_per_run=80, segment_bytes=0, **options)
    assert (plan.splits_batches, plan.devices, plan.runs_per_device) == expected


@pytest.mark.parametrize(
    ("segment_bytes", "input_mode", "streams"),
    [
        (500, "auto", False),
        (501, "auto", True),
        (1, "stream", True),
        (999, "resident", False),
    ],
)
def test_segments_that_take_more_than_half_of_the_memory_are_streamed(
    segment_bytes, input_mode, streams
):
    plan = parallel.plan_layout(
        FOUR_HOSTS,
        num_runs=16,
        bytes_per_run=80,
        segment_bytes=segment_bytes,
        input_mode=input_mode,
    )
    assert plan.streams == streams


def test_resident_segments_leave_less_memory_for_runs():
    plan = parallel.plan_layout(
        ONE_HOST, num_runs=1000, bytes_per_run=80, segment_bytes=400
    )
    assert plan.runs_per_device == 5  # of 400 bytes


def test_a_network_that_cannot_be_split_says_what_to_do():
    with pytest.raises(ValueError, match=r"cannot be split .*--config.parallel=runs"):
        parallel.plan_layout(
            ONE_HOST,
            num_runs=1,
            bytes_per_run=1,
            segment_bytes=0,
            splittable=False,
            mode="data",
        )


def test_what_is_put_on_devices_comes_back_and_the_last_run_fills_up():
    layout = parallel.Layout(tuple(jax.local_devices()[:4]), None, runs_per_device=2)
    assert layout.group_size == 8
    trees = [{"x": np.full(3, k), "y": np.int32(k)} for k in range(7)]
    placed = layout.put_runs(trees)
    assert placed["x"].shape == (4, 2, 3)
    fetched = layout.fetch(placed)
    np.testing.assert_array_equal(fetched["x"][:7], [tree["x"] for tree in trees])
    np.testing.assert_array_equal(fetched["y"], [0, 1, 2, 3, 4, 5, 6, 6])


@pytest.mark.parametrize(
    ("platform", "model_name"),
    [("cpu", "glam"), ("cpu", TINY), ("gpu", TINY)],
)
def test_two_runs_on_a_device_take_the_steps_of_one(platform, model_name):
    """In turn, as on a CPU, and by vmap, as elsewhere; of two and of four steps.

    The tiny network has dropout, which is each run's own. How the paper's networks are
    mapped by vmap is compared in test_models.py.
    With SGD: Adam would make steps of the rounding that is the gradient of a bias
    before BatchNorm.
    """
    recipe = iemocap.get_config()
    recipe.update(batch_size=8, optimizer="sgd", learning_rate=0.01)
    data = speech_like(32)
    recipe.model = model_name
    setup = steps.create_setup(recipe, 4)
    train = functools.partial(steps.train_steps, setup)
    shape = data.features.shape[1:]
    create = jax.jit(functools.partial(steps.create_state, setup, shape))
    random = np.random.default_rng(0)
    orders = [random.permutation(32).reshape(4, 8) for _ in range(2)]
    pairs = np.stack([mixed(order, seed) for seed, order in enumerate(orders)])
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
    # The tests chose it, so that small programs are kept too.
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    assert jax.config.jax_compilation_cache_dir == kept  # chosen by the user
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        parallel.use_compilation_cache()
        folder = str(tmp_path / "glam_jax" / "compiled")
        assert jax.config.jax_compilation_cache_dir == folder
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    kept = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "expanduser", _no_home)
    try:
        parallel.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)


def _no_home(path):
    raise RuntimeError("Could not determine home directory.")


def test_double_precision_is_switched_off_with_a_word(capsys):
    jax.config.update("jax_enable_x64", True)
    try:
        parallel.use_single_precision()
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", False)
    assert "JAX_ENABLE_X64 is switched off" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2, None), "need --coordinator"),
        ((None, None, 0), "need --coordinator"),
        (("127.0.0.1", 1, 0), "neither HOST:PORT nor auto"),
        (("127.0.0.1:1234", None, 0), "needs --num_processes"),
        (("127.0.0.1:1234", 2, 2), "from 0 to one less"),
    ],
)
def test_processes_that_cannot_be_joined_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parallel.connect(*arguments)


@pytest.mark.parametrize("chosen", [None, 3])
def test_cores_are_devices_unless_the_user_says_how_many(chosen):
    script = (
        "import jax; from glam_jax import parallel; parallel.use_cpu_cores(); "
        "print(jax.device_count())"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
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
    config.update(protocol="speaker", num_runs=6, model=TINY, mixup_alpha=0.5)
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

    def save_some(manager, state, row, notes):
        if row is not None and (row["run"], row["epoch"]) == (3, 1):
            raise RuntimeError("crash")
        save(manager, state, row, notes)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_some)
        with pytest.raises(RuntimeError, match="crash"):
            train.train_and_evaluate(config, str(tmp_path))
    assert (tmp_path / "checkpoints" / "run_000").exists()
    again = train.train_and_evaluate(config, str(tmp_path))
    assert numbers(again) == numbers(report)
    key = lambda row: (row["run"], row["epoch"])  # noqa: E731
    ours, theirs = sorted(rows(tmp_path), key=key), sorted(rows(folder), key=key)
    for a, b in zip(ours, theirs, strict=True):
        assert a | {"segments_per_second": 0} == b | {"segments_per_second": 0}


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_memory_is_what_the_job_may_use(tmp_path, monkeypatch):
    """A container's or SLURM's limit, which may stand on a group above."""
    whole = parallel.machine().memory
    monkeypatch.setattr(parallel, "CGROUPS", tmp_path)
    for folder in (tmp_path, tmp_path / "memory"):
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text("max\n")
        (folder / "memory.limit_in_bytes").write_text(f"{2**62}\n")
    assert parallel.machine().memory == whole
    for folder in (tmp_path, tmp_path / "memory"):
        (folder / "memory.max").write_text(f"{2**30}\n")
        (folder / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    assert parallel.machine().memory == 2**29 // jax.local_device_count()
