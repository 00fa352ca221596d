"""The local page: what it answers, what it lists, and what a browser sees of it."""

import dataclasses
import os
import re

import numpy as np
import pytest
import soundfile
from commands import run_command

import glam_jax
from data_prep import audio
from glam_jax import cells, results


@pytest.fixture(scope="module")
def training(finished):
    return results.read(finished.folder)


@pytest.fixture(scope="module")
def corpus(training, data_dir):
    return cells.Corpus(data_dir / "demo_corpus", training.groups)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The module; gradio, which it imports, has a folder for what it keeps."""
    folder = tmp_path_factory.mktemp("gradio")
    os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    from glam_jax import page

    return page


def test_cells_hold_each_prediction_once_the_most_confident_first(training):
    matrix = np.array(training.report["confusion_matrix"])
    found = []
    for true, predicted in np.ndindex(matrix.shape):
        places = cells.places(training, true, predicted)
        assert len(places) == matrix[true, predicted]
        confidence = training.probabilities[places, predicted]
        assert (np.diff(confidence) <= 0).all()
        found += places.tolist()
    assert sorted(found) == list(range(len(training.labels)))


def test_an_utterance_is_heard_as_it_was_prepared(training, corpus, data_dir):
    id_ = str(training.utterances[0])
    (path,) = (data_dir / "demo_corpus").rglob(f"{id_}.wav")
    np.testing.assert_array_equal(corpus.read(id_), audio.read(path).wave)


def test_of_files_of_one_name_the_one_with_its_samples_is_heard(tmp_path):
    random = np.random.default_rng(0)
    waves = random.normal(0, 0.1, (3, 16000)).astype(np.float32)
    for folder, wave in zip(["a", "b", "c"], waves, strict=True):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "1.wav", wave, 16000, "FLOAT")
    (tmp_path / "1.wav").write_text("no sound")

    def content(wave):
        return {"content": audio.Audio(wave, 16000, 1).digest()}

    groups = {
        "b/1.wav": content(waves[1]),
        "emodb/1": content(waves[2]),
        "a/1.wav#0.25-0.5": content(waves[0, 4000:8000]),
        "../../secret": content(waves[0]),
        "a/1.wav#1-2-3": content(waves[0]),
    }
    corpus = cells.Corpus(tmp_path, groups)
    np.testing.assert_array_equal(corpus.read("b/1.wav"), waves[1])
    np.testing.assert_array_equal(corpus.read("emodb/1"), waves[2])
    np.testing.assert_array_equal(corpus.read("a/1.wav#0.25-0.5"), waves[0, 4000:8000])
    for id_ in ("../../secret", "a/1.wav#1-2-3"):
        with pytest.raises(ValueError, match="does not hold the recording"):
            corpus.read(id_)


def test_a_cell_lists_its_utterances_as_text(training, page):
    groups = dict(training.groups)
    odd = "<script>alert(1)</script>"
    groups[odd] = groups[str(training.utterances[0])] | {"speaker": "<b>"}
    training = dataclasses.replace(
        training,
        groups=groups,
        utterances=np.array([odd, *training.utterances[1:]]),
    )
    true = training.labels[0]
    predicted = training.probabilities[0].argmax()
    table = page.cell_table(training, true, predicted, audible=True)
    places = cells.places(training, true, predicted)
    assert re.findall(r"&quot;place&quot;: (\d+)", table) == [*map(str, places)]
    assert "&lt;script&gt;" in table and "<script" not in table and "<b>" not in table
    silent = page.cell_table(training, true, predicted, audible=False)
    assert "--corpus_source=FOLDER to hear them" in silent and "<button" not in silent
    assert page.matrix_table(training).count("<button") == 16


def test_the_page_hears_what_the_model_hears(finished, page, tmp_path):
    model = glam_jax.load(finished.folder)
    wave = np.random.default_rng(0).normal(0, 0.1, 20000)
    soundfile.write(tmp_path / "a.flac", wave, 16000)
    answer, outline, warnings = page.listen(model, tmp_path / "a.flac")
    expected = model.probabilities(soundfile.read(tmp_path / "a.flac")[0])
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
    assert outline.shape == (2000, 2) and not warnings


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (None, "cannot be decoded"),
        (b"", "the file is empty"),
        (np.zeros(16000), "is silent"),
        (np.random.default_rng(0).normal(0, 0.1, 700), "longer than 0.01 minutes"),
    ],
)
def test_an_upload_that_cannot_be_used_is_told_why(
    page, tmp_path, samples, message, monkeypatch
):
    monkeypatch.setattr(page, "MINUTES", 0.01 if "longer" in message else 10)
    path = tmp_path / "upload.wav"
    if isinstance(samples, np.ndarray):
        soundfile.write(path, np.tile(samples, 20), 16000)
    else:
        path.write_bytes(b"no sound" if samples is None else samples)
    with pytest.raises(ValueError, match=message):
        page.listen(None, path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one model"),
        (["tests"], "tests holds no trained model"),
        (["tests", "--corpus_source=configs"], "holds no finished training"),
        (["FINISHED", "--corpus_source=nowhere"], "there is no folder .*nowhere"),
        (["FINISHED", "--corpus_source=configs"], "holds no sound"),
        (["FINISHED", "--run=9"], "has no finished run 9"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(finished, arguments, message):
    named = [a.replace("FINISHED", str(finished.folder)) for a in arguments]
    ended = run_command("glam_jax.serve", *named)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert re.search(f"^error: .*{message}", line)
