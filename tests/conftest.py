"""Fixtures: four CPU devices, and a small demo corpus prepared by the real builder."""

import dataclasses
import os
import pathlib

import jax
import jaxtyping
import ml_collections
import pytest

# Compiling takes most of the time, and these models run as fast: fusions emitted by way
# of MLIR take twice as long to compile as those that LLVM gets at once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)

# Shapes and types are checked in the tests, at every call.
jaxtyping.install_import_hook(
    [
        "glam_jax.steps",
        "glam_jax.feeds",
        "glam_jax.models.glam",
        "glam_jax.models.baselines",
        "glam_jax.models.layers",
        "glam_jax.models.plus",
    ],
    "beartype.beartype",
)

from helpers import prepare, shorten  # noqa: E402
from networks import TINY  # noqa: E402

from configs import demo as demo_config  # noqa: E402
from data_prep.corpora import demo  # noqa: E402
from glam_jax import figures, train  # noqa: E402


def pytest_collection_modifyitems(items):
    """The slow ones first, so that no process is left with one at the end."""
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """A program compiled once in the session is not compiled again."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share what they compile
        folder = folder.parent
    settings = {
        "jax_compilation_cache_dir": str(folder / "jit"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the commands that tests start


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data folder with 128 turns of the demo corpus, in short segments."""
    folder = tmp_path_factory.mktemp("data")
    demo.synthesise(folder / "demo_corpus", sessions=2)
    prepare(demo.read(folder / "demo_corpus"), "demo", folder)
    return folder


@dataclasses.dataclass(frozen=True)
class Finished:
    """An uninterrupted training of two runs."""

    config: ml_collections.ConfigDict
    folder: pathlib.Path
    report: dict


@pytest.fixture(scope="session")
def finished(data_dir, tmp_path_factory):
    """An uninterrupted training of two runs on the small demo corpus."""
    config = shorten(demo_config.get_config(), data_dir)
    config.update(model=TINY, num_runs=2)
    folder = tmp_path_factory.mktemp("finished")
    return Finished(config, folder, train.train_and_evaluate(config, str(folder)))


@pytest.fixture
def without_figures(monkeypatch):
    """For tests of the numbers of trainings: drawing takes most of a small one's time.

    `finished` has them, and tests of reports and figures draw them.
    """
    monkeypatch.setattr(figures, "write", lambda folder, trainings: None)


@pytest.fixture
def config(data_dir, without_figures):
    """A training of seconds: one run of two epochs on the small demo corpus."""
    config = shorten(demo_config.get_config(), data_dir)
    config.model = TINY  # the loop is the same for all
    return config


@pytest.fixture(params=["this platform", "a TPU or ONNX"])
def platform(request, monkeypatch):
    """What is computed on CPUs and GPUs; and in another way elsewhere, here too."""
    if request.param != "this platform":

        def elsewhere(*operands, default, **_):
            return default(*operands)

        monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
