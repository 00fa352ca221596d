"""The command line: help, typos, statuses, and a kill in the middle of an epoch."""

import functools
import json
import signal
import subprocess
import sys
import time

import pytest
from commands import ROOT, Command, run_afresh, run_command
from helpers import numbers

MAIN = "glam_jax.main"
run = functools.partial(run_command, MAIN)


def test_help_explains_the_flags_and_examples():
    result = run_afresh(MAIN, "--help")
    assert "--config=configs/iemocap.py" in result.stdout
    assert "--workdir" in result.stdout


def test_a_misspelt_field_is_refused_with_the_nearest_name():
    result = run("--config=configs/emodb.py", "--config.num_epoch=3")
    assert result.returncode != 0
    assert 'did you mean "num_epochs"' in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_config_file_is_named():
    result = run("--config=configs/emo.py")
    assert result.returncode != 0
    assert "configs/emo.py" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: name a config file: --config=configs/emodb.py"),
        (("--config=emodb",), "there are crema_d, demo, emodb, iemocap, ravdess"),
        (("--config=configs/emodb.py", "--config.zz=1"), "no field zz in the config"),
        (("--config=configs/emodb.py", "--num_epochs=3"), "--config.num_epochs"),
        (("--config=configs/emodb.py", "--workdir=gs://x"), "--workdir=gs://x: gs://"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_another_package_named_configs_does_not_take_this_ones_place(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text("get_config = None\n")
    config = ROOT / "configs" / "emodb.py"
    result = run_afresh(MAIN, f"--config={config}", folder=tmp_path)
    assert f"the package configs in {folder} hides that of glam_jax" in result.stderr
    assert result.stderr.count("\n") == 1


COMMANDS = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in ("glam_jax", "data_prep")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "app.run(" in path.read_text()
]


def test_commands_can_be_imported_together():
    """Their flags, of which some have the same names, are defined where they run."""
    assert len(COMMANDS) > 5
    subprocess.run(
        [sys.executable, "-c", f"import {', '.join(COMMANDS)}"], cwd=ROOT, check=True
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "glam_jax.main --config=configs/emodb.py --workdir=gs://bucket/run",
        "glam_jax.main --config=gs://bucket/emodb.py",
        "glam_jax.main --config=configs/emodb.py --config.data_dir=gs://bucket/data",
        "glam_jax.main --config=configs/emodb.py --config.split_file=gs://bucket/s.csv",
        "glam_jax.split --config=configs/emodb.py --out=gs://bucket/splits.csv",
        "glam_jax.compare gs://bucket/a gs://bucket/b",
        "glam_jax.compare runs/a runs/b --out=gs://bucket/compared",
        "glam_jax.reproduce main --out=gs://bucket/reproduced",
        "glam_jax.reproduce main --list --config.data_dir=gs://bucket/data",
        "glam_jax.benchmark --out=gs://bucket/rows.jsonl",
        "glam_jax.predict gs://bucket/run a.wav",
        "glam_jax.predict runs/a labels.csv --source=gs://bucket/sounds",
        "glam_jax.serve gs://bucket/run",
        "glam_jax.export gs://bucket/run",
        "glam_jax.export runs/a --out=gs://bucket/exported",
        "glam_jax.floor --config=configs/emodb.py --workdir=gs://bucket/run",
        "glam_jax.predict runs/a gs://bucket/a.wav",
        "glam_jax.predict runs/a a.wav --out=gs://bucket/a.csv",
        "glam_jax.predict runs/a a.wav --plot=gs://bucket/pictures",
        "glam_jax.evaluate gs://bucket/run --config=configs/emodb.py",
        "glam_jax.cross --corpora=emodb,demo --out=gs://bucket/crossed",
        "glam_jax.benchmark.outcomes --config=configs/emodb.py --out=gs://bucket/rows",
        "data_prep.build --corpus=emodb --source=gs://bucket/emodb",
        "data_prep.build --corpus=demo --data_dir=gs://bucket/data",
    ],
)
def test_every_flag_refuses_a_bucket_at_once(arguments, tmp_path):
    words = arguments.replace("=configs/", f"={ROOT}/configs/").split()
    result = run_command(*words, folder=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "gs:// is not read or written from here" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_another_type_is_refused():
    result = run("--config=configs/emodb.py", "--config.num_epochs=many")
    assert result.returncode != 0
    assert "num_epochs" in result.stderr


def test_an_unknown_subset_is_refused_with_the_names():
    result = run("--config=configs/iemocap.py:improvised")
    assert result.returncode != 0
    assert "impro, script, full" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_model_is_refused_with_the_names():
    result = run("--config=configs/iemocap.py:impro,model=gram")
    assert result.returncode == 1
    assert result.stderr.startswith("error: no model 'gram'; did you mean glam? ")
    assert "Traceback" not in result.stderr


def test_without_data_the_command_that_prepares_is_shown(tmp_path):
    result = run("--config=configs/emodb.py", f"--config.data_dir={tmp_path}")
    assert result.returncode == 1
    assert "python -m data_prep.build --corpus=emodb" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def training(config, tmp_path):
    """The arguments of a training of one run of four epochs."""
    return [
        "--config=configs/demo.py",
        f"--config.model={config.model}",
        f"--config.data_dir={config.data_dir}",
        "--config.segment=8000",
        "--config.hop=8000",
        "--config.test_hop=8000",
        "--config.batch_size=16",
        "--config.num_runs=1",
        "--config.num_epochs=4",
        "--config.checkpoint_every=1",
        f"--workdir={tmp_path / 'run'}",
    ]


def begin(training, workdir, epochs):
    """Starts a training and waits until so many epochs are done."""
    command = Command(MAIN, *training)
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not metrics.exists() or metrics.read_text().count("\n") < epochs:
        assert command.is_running() and time.monotonic() < deadline
        time.sleep(0.02)
    return command


def test_sigterm_saves_and_exits_with_its_own_status(training, tmp_path):
    command = begin(training, tmp_path / "run", epochs=1)
    command.send_signal(signal.SIGTERM)
    ended = command.finish()
    assert ended.returncode == 75
    assert "The same command goes on" in ended.stdout
    steps = [
        int(path.name) for path in (tmp_path / "run/checkpoints/run_000").iterdir()
    ]
    assert max(steps) >= 24  # at least the first epoch


@pytest.mark.slow  # test_train.py kills in other ways within one process
def test_killed_twice_ends_with_the_same_report(training, tmp_path):
    *arguments, _ = training
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(*arguments, f"--workdir={whole}").returncode == 0
    for epochs in (1, 3):
        command = begin([*arguments, f"--workdir={killed}"], killed, epochs)
        time.sleep(0.1 * epochs)  # into the next epoch
        command.send_signal(signal.SIGKILL)
        assert command.finish().returncode == -signal.SIGKILL
    assert run(*arguments, f"--workdir={killed}").returncode == 0
    ours, theirs = [
        json.loads((folder / "report.json").read_text()) for folder in (killed, whole)
    ]
    assert numbers(ours) == numbers(theirs)
    name = "predictions.csv"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
