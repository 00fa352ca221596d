"""A trained model on another corpus: classes, numbers, refusals; and the matrix."""

import dataclasses
import json
import re
import shutil

import invented
import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import prepare, shorten
from PIL import Image

import glam_jax
from configs import base
from configs import demo as demo_config
from data_prep import corpora
from data_prep.text import read_csv
from glam_jax import (
    comparison,
    crossing,
    evaluate,
    evaluation,
    grid,
    metrics,
    results,
    train,
)
from glam_jax.splits import leakage

WORDS = ("Sadness", "angry", "joy", "neu", "bored")


@dataclasses.dataclass(frozen=True)
class Other:
    """A corpus of noise: its utterances are not those of the demo."""

    utterances: list


@pytest.fixture(scope="module")
def other(tmp_path_factory, data_dir, finished):
    """Twenty recordings of five emotions beside the demo corpus, and its folder.

    Three are shorter than a segment; one is a recording of the demo corpus.
    """
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(data_dir, folder / "data")
    random = np.random.default_rng(0)
    utterances = []
    for k in range(20):
        path = folder / f"{k:02d}.wav"
        samples = 6000 if k < 3 else 9000 + 900 * k
        soundfile.write(path, random.normal(0, 0.02 * (1 + k % 5), samples), 16000)
        utterances.append(corpora.Utterance(path.stem, path, WORDS[k % 5], f"p{k % 4}"))
    _, trained = read_csv(finished.folder / "utterances.csv")
    sad = next(row[0] for row in trained if row[1] == "sad")
    (copied,) = (data_dir / "demo_corpus").rglob(f"{sad}.wav")
    shutil.copy(copied, utterances[19].path)
    utterances[19] = dataclasses.replace(utterances[19], emotion="neu")
    prepare(Other(utterances), "other", folder / "data")
    return folder


def config_of(other, name="other", **fields):
    config = base.get_config()
    config.update(corpus=name, data_dir=str(other / "data"), **fields)
    # What is done to segments is the model's matter.
    config.normalise, config.augment.noise = "speaker", 0.5
    return config


def question(finished, other, **changes):
    asked = {"model": finished.folder, "config": config_of(other)}
    asked |= {"words": {"sad": ["Sadness"]}, "leaves_out_trained": True}
    return evaluation.Question(**asked | changes)


@pytest.fixture(scope="module")
def tested(finished, other, tmp_path_factory):
    """The two runs of the finished training, tested on the other corpus."""
    out = tmp_path_factory.mktemp("tested") / "out"
    return out, evaluation.evaluate(question(finished, other), out)


def test_each_run_and_their_mean_answer_as_for_the_recordings(finished, other, tested):
    out, report = tested
    shared = report["classes"]
    header, rows = read_csv(out / "predictions.csv")
    assert header[3:] == shared and len(shared) == 3
    means = {}
    for run in (0, 1):
        model = glam_jax.load(finished.folder, run)
        columns = [model.class_names.index(name) for name in shared]
        of_run = [row for row in rows if row[1] == str(run)]
        assert len(of_run) == 12  # of twenty, without joy, the bored ones and a copy
        for utterance, _, label, *probabilities in of_run:
            wave, rate = soundfile.read(other / f"{utterance}.wav")
            expected = model.probabilities(wave, rate)[columns]
            expected /= expected.sum()
            told = np.array(probabilities, float)
            np.testing.assert_allclose(told, expected, atol=2e-4)
            means.setdefault(utterance, []).append(np.array(probabilities, float))
            assert label in shared
    labels = {row[0]: shared.index(row[2]) for row in rows}
    found = np.array([np.mean(told, axis=0).argmax() for told in means.values()])
    matrix = metrics.confusion_matrix(
        np.array([labels[name] for name in means]), found, len(shared)
    )
    assert report["evaluation"]["ensemble"] == metrics.from_confusion(matrix)


def test_the_report_says_what_was_tested_and_what_was_left_out(tested):
    out, report = tested
    told, written = report["evaluation"], (out / "report.md").read_text()
    assert report["classes"] == ["neutral", "sad", "angry"]
    assert told["left_out_classes"] == ["excited"]
    assert told["left_out_words"] == {"bored": 3, "joy": 4}
    assert told["left_out_trained"] == 1
    assert report["splits"]["both_sides"]["speaker"] == {"shared": 0, "tested": 4}
    assert "other does not have: excited" in written
    assert "bored (3), joy (4)" in written
    assert "and none of what is tested here." in written
    assert "since they are in the training: 1." in written
    assert "mean of their probabilities" in written
    names = {path.name for path in out.iterdir()}
    assert {"confusion.png", "reliability.pdf", "embedding.png"} <= names
    assert "curves.png" not in names


def test_evaluations_are_compared_as_trainings_are(tested, tmp_path):
    out, report = tested
    first = results.read(out)
    second = results.read(shutil.copytree(out, tmp_path / "second"))
    assert comparison.what_differs(first, second) == ""
    assert comparison.held_out_speakers([first, second])
    assert results.subject(report).startswith("other, by models of demo")
    with pytest.raises(ValueError, match="holds the evaluation of a model and no mo"):
        glam_jax.load(out)


def test_the_same_question_is_not_asked_twice(finished, other, tested, capsys):
    out, report = tested
    assert evaluation.evaluate(question(finished, other), out) == report
    assert "is complete" in capsys.readouterr().out
    elsewhere = finished.folder / ".." / finished.folder.name
    same = dataclasses.replace(question(finished, other), model=elsewhere)
    assert evaluation.evaluate(same, out) == report
    more = {"sad": ["Sadness", "bored"]}
    with pytest.raises(ValueError, match=r"another evaluation .* give another --out"):
        evaluation.evaluate(question(finished, other, words=more), out)
    with pytest.raises(ValueError, match="holds a trained model; give another --out"):
        evaluation.evaluate(question(finished, other), finished.folder)


def test_speakers_of_the_training_are_told(finished, other, tmp_path, without_figures):
    """Of the same corpus: those who improvise trained, and read sentences test."""
    config = finished.config.copy_and_resolve_references()
    config.update(tfds_splits=("impro",), num_runs=1, num_epochs=1)
    train.train_and_evaluate(config, str(tmp_path / "impro"))
    read = config_of(other, "demo", tfds_splits=("script",))
    asked = evaluation.Question(tmp_path / "impro", read, {}, leaves_out_trained=True)
    both = evaluation.evaluate(asked, tmp_path / "out")["splits"]["both_sides"]
    assert both["speaker"]["shared"] == both["speaker"]["tested"] > 0
    assert both["content"]["shared"] == 0


def test_recordings_of_the_training_are_refused(finished, other, tmp_path):
    asked = question(finished, other, leaves_out_trained=False)
    with pytest.raises(ValueError, match=r"1 of 13 recordings of other .*\(19\)"):
        evaluation.evaluate(asked, tmp_path / "out")
    config = config_of(other, "demo", tfds_splits=())
    config.classes = finished.config.classes
    config.label_sets = finished.config.label_sets
    asked = dataclasses.replace(asked, config=config, words={}, leaves_out_trained=True)
    with pytest.raises(ValueError, match=r"says little; what it did on those held out"):
        evaluation.evaluate(asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_trained_must_be_known_or_is_said(finished, other, tmp_path):
    model = shutil.copytree(finished.folder, tmp_path / "model")
    (model / "utterances.csv").unlink()
    asked = question(finished, other, model=model)
    with pytest.raises(ValueError, match=r"utterances.csv is missing or not what was"):
        evaluation.evaluate(asked, tmp_path / "out")


def question_without_files(finished, tmp_path):
    model = shutil.copytree(finished.folder, tmp_path / "model")
    (model / "utterances.csv").unlink()
    told = json.loads((model / "model.json").read_text())
    del told["files"]
    (model / "model.json").write_text(results.json_text(told))
    return model


def test_a_model_that_does_not_say_what_trained_is_tested_with_a_warning(
    finished, other, tmp_path, without_figures
):
    model = question_without_files(finished, tmp_path)
    asked = question(finished, other, model=model)
    report = evaluation.evaluate(asked, tmp_path / "out")
    (warning,) = report["splits"]["warnings"]
    assert warning.endswith("whether these are among them cannot be told")
    assert report["splits"]["utterances"]["used"] == 13
    assert report["splits"]["both_sides"] == {}  # nor is anything claimed
    assert leakage.heard({}) is None
    written = (tmp_path / "out/report.md").read_text()
    assert "on both sides: nobody knows" in written
    assert "none of what is tested" not in written


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        ({}, {}, {"sad": ("Sad", "sadness"), "happy": ("happy",)}),
        (
            {"happy": ("joy",), "sad": ("gloom",)},
            {},
            {"sad": ("Sad", "sadness"), "happy": ("happy", "joy")},
        ),
        (
            {"happy": ("joy",)},
            {"angry": ["joy", "happy"]},
            {"sad": ("Sad", "sadness"), "angry": ("happy", "joy")},
        ),
    ],
)
def test_words_are_classes_by_the_map_then_the_config_then_themselves(
    own, given, expected
):
    found = {"Sad": 1, "sadness": 1, "happy": 1, "joy": 1}
    known = {"sad": ("sad", "sadness"), "angry": ("angry",), "happy": ("happy",)}
    assert evaluation.match(found, known, own, given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"glad": ["joy"]}, "'glad' is no class of the model; its classes are sad"),
        ({"sad": ["gloom"]}, "no utterance is 'gloom'; there are joy, sadness"),
    ],
)
def test_a_map_that_fits_neither_is_refused(given, message):
    found, known = {"sadness": 1, "joy": 1}, {"sad": ("sad",)}
    with pytest.raises(ValueError, match=f"^--map: {message}"):
        evaluation.match(found, known, {}, given)


def test_a_map_is_read():
    written = ["happy:joy, happiness", "happy:glad", "sad:very sad"]
    assert evaluate.parse_map(written) == {
        "happy": ["joy", "happiness", "glad"],
        "sad": ["very sad"],
    }
    for wrong in ("happy", ":joy", "happy:", "happy:joy,"):
        with pytest.raises(ValueError, match="must be of the form CLASS:WORD,WORD"):
            evaluate.parse_map([wrong])
    with pytest.raises(ValueError, match="names 'joy' twice"):
        evaluate.parse_map(["happy:joy", "sad:joy"])


def test_the_command_says_how_to_prepare_the_corpus(finished, tmp_path):
    ended = run_command(
        "glam_jax.evaluate",
        str(finished.folder),
        "--config=configs/emodb.py",
        f"--config.data_dir={tmp_path}",
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert (
        f"python -m data_prep.build --corpus=emodb --source=/path/to/the/corpus "
        f"--data_dir={tmp_path} --features=mfcc --segment=8000 --hop=8000"
    ) in ended.stderr


def test_too_few_classes_in_common_are_said(finished, other, tmp_path):
    asked = question(finished, other, words={"angry": ["neu", "angry"]})
    with pytest.raises(
        ValueError, match=r"other has angry: its emotions are Sadness, angry, bored"
    ):
        evaluation.evaluate(asked, tmp_path / "out")


def crossed(other, **fields):
    config = shorten(demo_config.get_config(), other / "data")
    config.update(
        model="networks:Tiny",
        classes="sad=sad,Sadness angry=ang,angry neutral=neu calm=calm",
        num_epochs=1,
        num_folds=2,
        batch_size=4,
        **fields,
    )
    return crossing.plan(config, ["demo", "other"], "")


def test_the_plan_of_a_crossing_has_the_classes_of_all_corpora(other, capsys):
    planned = crossed(other)
    assert "not in all corpora: calm" in capsys.readouterr().out
    assert planned.classes["sad"] == {"demo": ("sad",), "other": ("Sadness",)}
    kinds = [(c.config.corpus, c.config.protocol) for c in planned.cells]
    assert kinds == [
        ("demo", "everything"),
        ("other", "everything"),
        ("demo", "speaker_folds"),
        ("other", "speaker_folds"),
    ]
    assert grid.shard(planned.cells, "1/2") == planned.cells[1::2]
    with pytest.raises(ValueError, match="name two or more different corpora"):
        crossing.plan(config_of(other), ["demo", "demo"], "")
    with pytest.raises(ValueError, match=r"share neu, and two classes are needed"):
        crossing.plan(shorten(config_of(other), other / "data"), ["demo", "other"], "")


def test_the_matrix_holds_what_is_finished(other, tmp_path, capsys):
    planned = crossed(other)
    values = {("demo", "demo"): 70.0, ("demo", "other"): 40.0, ("other", "other"): 55.0}
    for entry, wa in values.items():
        folder = planned.folder(*entry, tmp_path)
        folder.mkdir(parents=True)
        protocol = "speaker_folds" if entry[0] == entry[1] else "everything"
        report = invented.training("Tiny", [wa - 1, wa + 1], protocol=protocol).report
        (folder / "report.json").write_text(json.dumps(report))
    crossing.write(planned, tmp_path, tmp_path)
    said, written = capsys.readouterr().out, (tmp_path / "matrix.md").read_text()
    assert "1 entries are not in the matrix" in said
    row = r"\| demo +\| 60.00 ± 1.41 +\| 30.00 ± 1.41 +\|"
    assert re.search(row, written)  # UA, ten lower
    assert re.search(r"\| other +\| +\| 45.00 ± 1.41 +\|", written)
    assert "a speaker-independent result of that corpus" in written
    assert r"\multicolumn{" in (tmp_path / "matrix.tex").read_text()
    with Image.open(tmp_path / "matrix.png") as image:
        assert image.width == 7 * 300
        assert np.array(image.convert("L")).std() > 10  # not blank


@pytest.mark.slow
def test_a_crossing_trains_and_tests_each_on_each(
    other, tmp_path, without_figures, capsys
):
    planned = crossed(other)
    folder = crossing.cross(planned, planned.cells[:2], tmp_path)
    assert "2 entries are not in the matrix" in capsys.readouterr().out
    crossing.cross(planned, planned.cells, tmp_path)
    header, rows = read_csv(folder / "matrix.csv")
    lines = [dict(zip(header, row, strict=True)) for row in rows]
    ua = {(r["trained"], r["tested"]): r for r in lines if r["measure"] == "ua"}
    assert list(ua) == crossing.entries(planned)
    assert ua["demo", "demo"]["n"] == "2" and ua["demo", "other"]["n"] == "1"
    assert ua["demo", "other"]["utterances"] == "12"  # without the copy
    for (trained, tested), row in ua.items():
        report = results.read_report(planned.folder(trained, tested, tmp_path))
        assert float(row["mean"]) == report["summary"]["selected"]["ua"]["mean"]
    written = (folder / "matrix.md").read_text()
    assert "a speaker-independent result of that corpus" in written
    assert {"matrix.tex", "matrix.png", "matrix.pdf"} <= {
        path.name for path in folder.iterdir()
    }
    capsys.readouterr()
    crossing.cross(planned, planned.cells, tmp_path)
    assert "4 trainings, 4 of them finished" in (said := capsys.readouterr().out)
    assert "testing" not in said
    _pretend_other_weights(planned.folder("demo", "other", tmp_path))
    crossing.cross(planned, planned.cells, tmp_path)
    said = capsys.readouterr().out
    assert "is of a model that was trained again since" in said
    assert "testing demo on other" in said and "testing other on demo" not in said


def _pretend_other_weights(folder):
    """Makes an evaluation one of other weights than its model has now."""
    for name in ("report.json", "model.json"):
        told = results.read_json(folder / name)
        told["evaluation"]["weights"] = ["0" * 64]
        if name == "model.json":
            told["files"]["report.json"] = results.digests(folder)["report.json"]
        (folder / name).write_text(results.json_text(told))
