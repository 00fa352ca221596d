"""launch.sh: what it would run on a TPU VM, and what it says to wrong arguments."""

import os
import pathlib
import shlex
import subprocess

LAUNCH = pathlib.Path(__file__).parents[1] / "launch.sh"


def launch(*arguments):
    return subprocess.run(
        [LAUNCH, *arguments],
        env=os.environ | {"DRY_RUN": "1"},
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


def test_arguments_with_spaces_arrive_whole_on_the_workers():
    result = launch("tpu", "my-tpu", "zone", "--", "--workdir=my runs/first")
    remote = shlex.split(result.stdout.splitlines()[-1])[-1]
    assert shlex.split(remote)[-1] == "--workdir=my runs/first"


def test_tpu_without_a_zone_shows_the_usage():
    result = launch("tpu", "my-tpu")
    assert result.returncode == 2
    assert "./launch.sh tpu NAME ZONE -- ARGS" in result.stderr


def test_an_unknown_word_shows_the_usage():
    result = launch("trian")
    assert result.returncode == 2
    assert "./launch.sh train ARGS" in result.stdout
