"""The model that comes with the package: it answers, and says what it is."""

import json
import pathlib
import re
import tomllib

import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import DATA, ROOT

import glam_jax
from glam_jax import exported, held_out, predict, results, shipped

WAVES = DATA / "emodb" / "wav"  # of the corpus that it was trained on
EMOTIONS = {"03a01Fa.wav": "happy", "09a05Wb.wav": "angry", "10b03Tb.wav": "sad"}


def test_it_answers_without_being_named(capfd):
    model = glam_jax.load()
    assert model.class_names == ("neutral", "sad", "angry", "happy")
    for name, emotion in EMOTIONS.items():
        probabilities = model.probabilities(*soundfile.read(WAVES / name))
        assert model.class_names[probabilities.argmax()] == emotion
    assert capfd.readouterr() == ("", "")


def test_predict_uses_it_and_says_in_one_line_what_it_is():
    done = run_command("glam_jax.predict", str(WAVES))
    assert done.returncode == 0
    told = [line.split(",")[:2] for line in done.stdout.splitlines()[1:]]
    assert {pathlib.Path(file).name: emotion for file, emotion in told} == EMOTIONS
    assert re.fullmatch(
        r"model: glam, .* trained on EmoDB .* not heard accuracy \(WA\) \d\d\.\d\d ± "
        r".* \d+ folds, 339 utterances\); .*MODEL_CARD\.md\n",
        done.stderr,
    )


def test_the_first_name_is_a_model_where_it_holds_one(finished):
    model, wave = str(finished.folder), str(WAVES)
    assert predict.model_and_sounds([model, wave]) == (finished.folder, [wave])
    assert predict.model_and_sounds([wave, "-"]) == (shipped.FOLDER, [wave, "-"])
    assert predict.model_and_sounds([]) == (shipped.FOLDER, [])
    for named in ([wave, model], [model, model]):
        with pytest.raises(ValueError, match="is a trained model, and nothing to li"):
            predict.model_and_sounds(named)


def test_its_card_says_where_it_comes_from_and_what_it_reaches():
    card = (shipped.FOLDER / "MODEL_CARD.md").read_text()
    assert "TO FILL IN" not in card
    assert "CC0" in card and "Burkhardt" in card
    model = results.read_json(shipped.FOLDER / results.MODEL)
    measured = model["held_out"]
    assert measured["protocol"].startswith("speaker")
    assert held_out.figures(measured) in card and measured["command"] in card
    # The command of the figures is that of the model, but for the protocol.
    trained = model["provenance"]["command"]
    assert measured["command"].startswith(trained.replace("=everything", "=speaker"))


def test_it_is_small_and_part_of_the_package():
    files = sorted(shipped.FOLDER.iterdir())
    assert [file.name for file in files] == [
        "MODEL_CARD.md",
        "model.json",
        "weights_000.safetensors",
    ]
    assert sum(file.stat().st_size for file in files) < 5e6
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["glam_jax"]
    package = pathlib.Path(glam_jax.__file__).parent
    assert {path for pattern in patterns for path in package.glob(pattern)} == {*files}


@pytest.fixture
def speakers_left_out(finished, tmp_path):
    """The folder of a training that says that it left speakers out."""
    report = json.loads((finished.folder / results.REPORT).read_text())
    report["protocol"] = "speaker"
    report["splits"]["both_sides"]["speaker"]["shared"] = 0
    folder = tmp_path / "speakers_left_out"
    folder.mkdir()
    (folder / results.REPORT).write_text(json.dumps(report))
    return folder, report


def test_weights_go_out_alone_with_figures_of_unseen_speakers(
    finished, speakers_left_out, tmp_path
):
    folder, report = speakers_left_out
    out = tmp_path / "out"
    exported.write(finished.folder, out, "0", [], held_out_training=folder)
    assert len([*out.iterdir()]) == 3
    measured = results.read_json(out / results.MODEL)["held_out"]
    assert measured["utterances"] == np.sum(report["confusion_matrix"]) == 40
    assert measured["ua"] == report["summary"]["selected"]["ua"]
    assert list(measured["recall"]) == report["classes"]
    card = (out / "MODEL_CARD.md").read_text()
    assert f"not heard: {held_out.figures(measured)}**" in card
    exported.write(out, tmp_path / "again", "0", [])
    assert (
        held_out.figures(measured) in (tmp_path / "again" / "MODEL_CARD.md").read_text()
    )


def test_a_graph_that_answers_otherwise_is_refused(finished):
    model = glam_jax.load(finished.folder)
    waves = [np.random.default_rng(k).normal(0, 0.1, 16000) for k in (0, 1)]
    assert exported.compare(model, "onnx", model.probabilities, waves) == 0

    def turned(wave):
        return model.probabilities(wave)[::-1]

    def unknown(wave):
        return model.probabilities(wave) * (1 if wave is waves[0] else np.nan)

    for other in (turned, unknown):
        with pytest.raises(ValueError, match="answers otherwise than the model"):
            exported.compare(model, "onnx", other, waves)


def test_seeds_of_a_fold_are_no_folds():
    measured = {name: {"mean": 80.0, "sd": 5.0, "n": 30} for name in ("wa", "ua")}
    measured |= {"runs": 30, "folds": 10, "utterances": 339}
    assert "over 30 runs of 10 folds, 339 utterances" in held_out.figures(measured)


def test_figures_of_something_else_are_refused(finished, speakers_left_out):
    folder, report = speakers_left_out
    with pytest.raises(ValueError, match="tested on speakers that it was trained on"):
        held_out.measured(finished.folder, report)
    with pytest.raises(ValueError, match="another num_epochs; measure the model's own"):
        held_out.measured(folder, report | {"num_epochs": 99})
    with pytest.raises(ValueError, match=r"the model has no report\.json"):
        held_out.measured(folder, None)
