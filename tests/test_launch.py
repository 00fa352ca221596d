"""launch.sh: what it would install and run, and what it says to wrong arguments."""

import itertools
import os
import pathlib
import shlex
import subprocess
import tomllib

import pytest
from packaging import requirements, utils

from configs import demo as demo_config
from data_prep.corpora import demo
from glam_jax import main

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch.sh"


def launch(*arguments, **environment):
    return subprocess.run(
        [LAUNCH, *arguments],
        env=os.environ | {"DRY_RUN": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_tpu_copies_the_tree_to_every_worker_and_trains_there():
    arguments = ["--config=configs/iemocap.py:full", "--config.num_runs=3"]
    result = launch("tpu", "my-tpu", "us-central2-b", "--", *arguments)
    assert result.returncode == 0
    pack, copy, train = (shlex.split(line) for line in result.stdout.splitlines())
    assert pack[:2] == ["git", "archive"]
    archive = "glam_jax.tar.gz"
    gcloud = ["gcloud", "compute", "tpus", "tpu-vm"]
    target = ["--zone=us-central2-b", "--worker=all"]
    assert copy == [*gcloud, "scp", archive, "my-tpu:", *target]
    assert train[:-1] == [*gcloud, "ssh", "my-tpu", *target]
    assert train[-1] == (
        "--command=mkdir -p glam_jax && tar -xzf glam_jax.tar.gz -C glam_jax "
        "&& cd glam_jax && ./launch.sh train "
        "--config=configs/iemocap.py:full --config.num_runs=3"
    )


def test_an_installation_that_failed_is_tried_again(tmp_path):
    (tmp_path / "venv/bin").mkdir(parents=True)
    commands = {"uv": '[ "$1" = --version ]', "venv/bin/python": "exit 3"}
    for name, line in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for _ in range(2):
        result = launch("train", DRY_RUN="", VENV=str(tmp_path / "venv"), PATH=path)
        assert result.returncode == 1  # uv's; python, which ends with 3, did not run
        assert result.stdout.startswith("installing")


def test_arguments_with_spaces_arrive_whole_on_the_workers():
    result = launch("tpu", "my-tpu", "zone", "--", "--workdir=my runs/first")
    remote = shlex.split(result.stdout.splitlines()[-1])[-1]
    assert shlex.split(remote)[-1] == "--workdir=my runs/first"


def test_tpu_without_a_zone_shows_the_usage():
    result = launch("tpu", "my-tpu")
    assert result.returncode == 2
    assert "./launch.sh tpu NAME ZONE -- ARGS" in result.stderr


def test_the_demo_ends_with_a_prediction_and_with_what_comes_next(tmp_path):
    lines = launch(VENV=str(tmp_path)).stdout.splitlines()
    commands = [line.split() for line in lines if line.startswith(str(tmp_path))]
    modules = [words[2] for words in commands if words[1] == "-m"][-3:]
    assert modules == ["data_prep.build", "glam_jax.main", "glam_jax.predict"]
    model, recording = commands[-1][3:]
    assert model == main.default_workdir(demo_config.get_config())
    folder, name = pathlib.PurePath(recording).parts[-2:]
    assert name in [f"{turn.name}.wav" for turn in demo.plan_dialogue(folder, seed=0)]
    told = [line.split()[1] for line in lines if line.startswith("  ./launch.sh ")]
    assert told == ["predict", "predict", "prepare", "train"]


def test_an_unknown_word_shows_the_usage():
    result = launch("trian")
    assert result.returncode == 2
    assert "./launch.sh train ARGS" in result.stdout


@pytest.fixture
def with_uv(tmp_path):
    """A function that gives the PATH of a machine whose `uv` ends with a status."""

    def path(status):
        (tmp_path / "uv").write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / "uv").chmod(0o755)
        return f"{tmp_path}:{os.environ['PATH']}"

    return path


@pytest.mark.parametrize(
    ("status", "installer"),
    [(0, "uv pip install --python {}"), (1, "{} -m pip install")],
)
def test_pinned_releases_are_installed_by_uv_where_it_works(
    tmp_path, with_uv, status, installer
):
    result = launch(
        *("install", "test"),
        VENV=str(tmp_path / "venv"),
        PATH=with_uv(status),
        JAX_EXTRA="cpu",
        PYTHON="python3.11",
    )
    assert result.returncode == 0
    create, _, install = map(shlex.split, result.stdout.splitlines())
    assert create == ["python3.11", "-m", "venv", str(tmp_path / "venv")]
    installer = installer.format(tmp_path / "venv/bin/python")
    assert install == [
        *installer.split(),
        *("--quiet", "-c", "constraints.txt", "--editable", ".[test]"),
    ]


def test_a_cuda_machine_gets_the_cuda_build(tmp_path, with_uv):
    result = launch(
        "install", VENV=str(tmp_path / "venv"), PATH=with_uv(0), JAX_EXTRA="cuda"
    )
    assert shlex.split(result.stdout.splitlines()[-1])[-1] == ".[cuda]"


def test_every_package_that_the_project_names_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    named = itertools.chain(project["dependencies"], *extras)
    pinned = [
        requirements.Requirement(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(str(pin.specifier).startswith("==") for pin in pinned)
    missing = {utils.canonicalize_name(requirements.Requirement(n).name) for n in named}
    missing -= {utils.canonicalize_name(pin.name) for pin in pinned}
    assert not missing - {"glam-jax"}  # an extra that holds others
