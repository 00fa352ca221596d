"""The step compiled for accelerators that are not there."""

import jax
import numpy as np
import pytest

from configs import iemocap
from glam_jax import steps
from glam_jax.benchmark import compiled
from glam_jax.models import inputs

SHAPE = (8, 12)


@pytest.fixture
def recipe():
    config = iemocap.get_config()
    config.update(model="mhcnn", batch_size=8)
    return config


def values(rows):
    """{case: {metric: value}} of rows with one value each."""
    cases = {}
    for row in rows:
        (cases.setdefault(row.case, {})[row.metric],) = row.values
    return cases


needs_libtpu = pytest.mark.skipif(
    not compiled.has_libtpu(), reason="needs libtpu: pip install -e .[bench]"
)


@pytest.mark.tpu
@needs_libtpu
def test_a_step_compiles_for_the_chips_of_a_topology(recipe):
    rows = compiled.tpu_rows(
        recipe, "v5e:2x2", SHAPE, runs=(2,), dtypes=("float32", "bfloat16")
    )
    assert {row.target for row in rows} == {"tpu:v5e:2x2"}
    cases = values(rows)
    assert list(cases) == [
        "f32,runs=2",
        "f32,devices=4",
        "bf16,runs=2",
        "bf16,devices=4",
    ]
    for case, metrics in cases.items():
        assert (metrics["collectives"] > 0) == ("devices" in case)
        assert metrics["peak_memory_mb"] > 0
        # At this size memory is the longer, and four chips share the work.
        chips = 4 if "devices" in case else 1
        expected = 1e3 * metrics["bytes_per_run_step"] / 819e9 / chips
        assert metrics["roofline_ms_per_run_step"] == pytest.approx(expected)
    # Products of one run do not depend on how runs and batches lie.
    products = [metrics["flops_per_run_step"] for metrics in cases.values()]
    assert max(products) < 2 * min(products)


@pytest.mark.tpu
@needs_libtpu
def test_a_topology_that_libtpu_does_not_know_is_refused_with_examples(recipe):
    with pytest.raises(ValueError, match=r"'v5e:3x77'.*v5e:2x2"):
        compiled.tpu_rows(recipe, "v5e:3x77", SHAPE)


@pytest.mark.tpu
@needs_libtpu
def test_a_tpu_reads_of_sound_what_it_trains_on():
    """Neither all segments, to gather a few, nor a tile of memory for each sample."""
    device = compiled._topology_devices("v5e:2x2")[0]
    on_device = jax.sharding.SingleDeviceSharding(device)

    def moved(function, *shapes):
        given = [jax.ShapeDtypeStruct(s, d, sharding=on_device) for s, d in shapes]
        cost = jax.jit(function).lower(*given).compile().cost_analysis()
        return cost["bytes accessed"]

    def gathered(tiles, indices):
        return steps.Data(tiles, None, None, samples).segments(indices)

    count, samples = 1000, 30000
    sound = np.zeros((count, 1, samples), np.float32)
    tiles = steps.Data(sound, None, None).tiled().features
    of_batch = 4 * 32 * samples
    shapes = (tiles.shape, np.float32), ((32,), np.int32)
    assert moved(gathered, *shapes) < 8 * of_batch < sound.nbytes / 2

    def faster(x, change):
        return inputs._at_speed(x, change, 0.1, samples, False)

    shapes = ((32, 1, samples), np.float32), ((32,), np.float32)
    assert moved(jax.vmap(faster), *shapes) < 100 * of_batch


def test_an_unknown_generation_is_refused_with_examples(recipe):
    with pytest.raises(ValueError, match=r"'v9:2x2'.*v5e:2x2"):
        compiled.tpu_rows(recipe, "v9:2x2", SHAPE)


def test_without_libtpu_the_command_that_installs_it_is_named(recipe, monkeypatch):
    monkeypatch.setattr(compiled, "has_libtpu", lambda: False)
    with pytest.raises(ValueError, match=r"pip install -e \.\[bench\]"):
        compiled.tpu_rows(recipe, "v5e:2x2", SHAPE)


def test_a_step_lowered_for_cuda_stays_on_the_gpu(recipe):
    cases = values(compiled.cuda_rows(recipe, SHAPE, runs=2, dtypes=("float32",)))
    assert list(cases) == ["f32,runs=2", "f32,devices=4"]
    assert cases["f32,runs=2"]["collectives"] == 0
    assert cases["f32,devices=4"]["collectives"] > 0
    assert all(metrics["host_callbacks"] == 0 for metrics in cases.values())


def test_a_call_of_the_host_in_the_step_is_refused_with_its_name(recipe, monkeypatch):
    train_step = steps.train_step

    def with_callback(setup, state, *arguments):
        jax.debug.callback(print, state.step)
        return train_step(setup, state, *arguments)

    monkeypatch.setattr(steps, "train_step", with_callback)
    with pytest.raises(ValueError, match="callback"):
        compiled.cuda_rows(recipe, SHAPE, runs=2, dtypes=("float32",))
