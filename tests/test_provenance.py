"""Where a result comes from stands in model.json and report.json."""

import datetime
import json
import os
import subprocess

import jax

import glam_jax
from data_prep.text import read_csv
from glam_jax import input_pipeline, provenance, results


def test_model_and_report_say_with_what_they_were_made(finished):
    told = finished.report["provenance"]
    model = json.loads((finished.folder / "model.json").read_text())
    assert model["provenance"] == told
    assert told["versions"]["glam_jax"] == glam_jax.__version__
    assert told["versions"]["jax"] == jax.__version__
    assert told["devices"] == "4 x cpu"
    assert told["command"].startswith("python ")
    started, ended = map(
        datetime.datetime.fromisoformat, (told["started"], told["ended"])
    )
    assert started < ended <= datetime.datetime.now(datetime.UTC)


def test_the_digest_is_that_of_what_was_trained_on(finished):
    told = finished.report["provenance"]["data_digest"]
    config = finished.config.copy_and_resolve_references()
    assert provenance.digest(input_pipeline.load(config)) == told
    config.tfds_splits = ("impro",)
    assert provenance.digest(input_pipeline.load(config)) != told


def test_the_commit_says_whether_files_were_changed(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", *identity, "-C", str(tmp_path), *arguments]
        return subprocess.check_output(command, text=True).strip()

    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):  # not the user's hooks
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "glam_jax/x.py"))
    assert provenance.commit() is None
    git("init", "-q")
    (tmp_path / "file").write_text("first")
    git("add", "file")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.commit() == head
    (tmp_path / "file").write_text("second")
    assert provenance.commit() == f"{head}-dirty"


def test_a_continued_training_keeps_the_time_of_its_start(
    finished, tmp_path, without_figures
):
    config = finished.config.copy_and_resolve_references()
    config.num_epochs = 1
    report = glam_jax.train_and_evaluate(config, str(tmp_path))
    (tmp_path / "report.json").unlink()
    model = json.loads((tmp_path / "model.json").read_text())
    model["provenance"]["started"] = "2020-01-01T00:00:00+00:00"
    (tmp_path / "model.json").write_text(results.json_text(model))
    again = glam_jax.train_and_evaluate(config, str(tmp_path))
    assert again["provenance"]["started"] == "2020-01-01T00:00:00+00:00"
    assert again["summary"] == report["summary"]


def test_the_parts_of_a_training_that_others_made_stay_known():
    made = {"versions": {"jax": "1"}, "devices": "1 x cpu", "commit": "a"}
    made |= {"command": "python x", "started": "then"}
    first = provenance.went_on({}, made)
    assert (first["started"], first["earlier"]) == ("then", [])
    again = provenance.went_on(first, made | {"started": "now"})
    assert (again["started"], again["earlier"]) == ("then", [])
    moved = provenance.went_on(again, made | {"devices": "8 x gpu"})
    assert [part["devices"] for part in moved["earlier"]] == ["1 x cpu"]
    ((_, told),) = provenance.earlier_parts(moved)
    assert told == "jax 1; 1 x cpu; commit a; python x"
    moved = provenance.went_on(moved, made | {"commit": "b"})
    assert [part["devices"] for part in moved["earlier"]] == ["1 x cpu", "8 x gpu"]


def test_what_each_utterance_belongs_to_stands_beside(finished):
    header, rows = read_csv(finished.folder / "utterances.csv")
    dataset = input_pipeline.load(finished.config)
    assert header == ["utterance", "class", *input_pipeline.GROUPS]
    assert [row[0] for row in rows] == dataset.ids.tolist()
    assert [row[2] for row in rows] == dataset.groups.speaker.tolist()
    predicted = {row[0] for row in read_csv(finished.folder / "predictions.csv")[1]}
    assert predicted < {row[0] for row in rows}
