"""Exported folders: their graphs answer as the model, alone and for any recording."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import DATA, reference

import glam_jax
from data_prep import records
from glam_jax import export, graphs, models, recognizer, torch_weights, weights
from glam_jax import exported as exported_lib
from glam_jax.models import inputs

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec(name) is None,
        reason=f"needs {name}: pip install -e .[export]",
    )
    for name in ("jax2onnx", "onnxruntime", "flatbuffers")
]
CLASSES = ("neutral", "sad", "angry", "happy")


def folder_of(name, folder):
    """A folder with a model of the golden weights."""
    np.savez(folder / f"{name}.npz", **reference(name)[1])
    torch_weights.write_folder(folder / f"{name}.npz", folder / name, name, CLASSES)
    return folder / name


@pytest.fixture(scope="module")
def speech():
    """Half a segment, 3 s and 20 s."""
    files = sorted((DATA / "emodb").rglob("*.wav"))
    waves = [soundfile.read(file, dtype="float32")[0] for file in files]
    joined = np.resize(np.concatenate(waves), 320_000)
    return [joined[4000:18000], joined[:48000], joined]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small model, its exported folder, and what is said of it."""
    from glam_jax import exported

    folder = tmp_path_factory.mktemp("export")
    model = folder_of("mhcnn", folder)
    told, *_ = exported.write(model, folder / "out", "0", ["stablehlo", "onnx"])
    return model, folder / "out", exported.sentences(told)


def onnx_session(graph):
    import onnxruntime

    return onnxruntime.InferenceSession(graph)


def test_the_folder_holds_what_is_promised(exported):
    _, out, told = exported
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md",
        "example.py",
        "model.json",
        "model.onnx",
        "model.stablehlo",
        "weights_000.safetensors",
    ]
    written = json.loads((out / "model.json").read_text())["exported"]
    assert max(written["largest_difference"].values()) < 1e-4
    assert [line.split(":")[0] for line in told] == ["model.stablehlo", "model.onnx"]
    lines = (out / "example.py").read_text().splitlines()
    assert len(lines) < 25


def test_onnx_answers_for_any_recordings(exported, speech):
    model, out, _ = exported
    trained, session = glam_jax.load(model), onnx_session(out / "model.onnx")
    for wave in speech:
        (answers,) = session.run(None, {"waveform": np.stack([wave, wave[::-1]])})
        for answer, sound in zip(answers, (wave, wave[::-1]), strict=True):
            np.testing.assert_allclose(answer, trained.probabilities(sound), atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["sample_rate"], about["segment"], about["hop"]) == (
        "16000",
        "28800",
        "3199",
    )


def test_stablehlo_answers_for_any_recordings(exported, speech):
    model, out, _ = exported
    trained = glam_jax.load(model)
    graph = jax.export.deserialize(bytearray((out / "model.stablehlo").read_bytes()))
    assert graph.platforms == ("cpu", "cuda", "tpu")
    for wave in speech[:2]:
        answers = graph.call(np.stack([wave, wave[::-1]]))
        np.testing.assert_allclose(answers[0], trained.probabilities(wave), atol=1e-4)
        np.testing.assert_allclose(
            answers[1], trained.probabilities(wave[::-1]), atol=1e-4
        )


def test_the_example_needs_nothing_of_the_project(exported, speech, tmp_path):
    model, out, _ = exported
    soundfile.write(tmp_path / "a.wav", speech[1], 16000)
    soundfile.write(tmp_path / "b.wav", speech[1], 8000)
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('jax', 'glam_jax', 'librosa')));"
        "import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    command = [sys.executable, "-c", script, str(out / "example.py")]
    done = subprocess.run(
        [*command, "a.wav"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    heard = soundfile.read(tmp_path / "a.wav")[0]
    expected = glam_jax.load(model).probabilities(heard)
    told = [float(word) for word in done.stdout.split()[2::2]]
    np.testing.assert_allclose(told, expected, atol=1e-3)
    done = subprocess.run(
        [*command, "b.wav"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == "b.wav has 8000 Hz; resample it to 16000 Hz\n"


def test_an_exported_folder_is_loaded_like_a_training(exported, speech):
    model, out, _ = exported
    np.testing.assert_array_equal(
        glam_jax.load(out).probabilities(speech[1]),
        glam_jax.load(model).probabilities(speech[1]),
    )
    file = out / "weights_000.safetensors"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-40])
        with pytest.raises(ValueError, match="is damaged"):
            glam_jax.load(out)
        file.write_bytes(content[:-4] + b"\0\0\0\0")
        with pytest.raises(ValueError, match="other weights than saved"):
            glam_jax.load(out)
    finally:
        file.write_bytes(content)


def test_all_runs_answer_with_their_mean(finished, tmp_path):
    from glam_jax import exported

    exported.write(finished.folder, tmp_path / "out", "all", ["stablehlo"])
    graph = jax.export.deserialize(
        bytearray((tmp_path / "out" / "model.stablehlo").read_bytes())
    )
    wave = np.random.default_rng(0).normal(0, 0.1, 20000).astype(np.float32)
    expected = glam_jax.load(finished.folder, "all").probabilities(wave)
    np.testing.assert_allclose(graph.call(wave[None])[0], expected, atol=1e-4)
    moved = glam_jax.load(tmp_path / "out", "all").probabilities(wave)
    np.testing.assert_array_equal(moved, expected)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    for expected in ("over 2 runs", "TO FILL IN", "No decision about a person", "demo"):
        assert expected in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one trained model"),
        (("nowhere",), "holds no trained model"),
        (("nowhere", "--format=tflite"), "there are stablehlo, onnx"),
        (("MODEL", "--run=7"), "no finished run 7"),
        (("MODEL", "--out=MODEL"), "is the model itself"),
        (("MODEL", "--out=OTHER"), "holds other files"),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_line(
    exported, tmp_path, arguments, message
):
    (tmp_path / "other").write_text("mine")
    arguments = [
        a.replace("MODEL", str(exported[0])).replace("OTHER", str(tmp_path))
        for a in arguments
    ]
    done = run_command("glam_jax.export", *arguments, folder=os.path.dirname(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert (tmp_path / "other").read_text() == "mine"


def test_what_an_interrupted_export_left_is_replaced(tmp_path):
    for name in ("model.onnx", "weights_000.safetensors", ".MODEL_CARD.md.incomplete"):
        (tmp_path / name).write_text("")
    export.check(["elsewhere"], tmp_path, ["stablehlo"])
    (tmp_path / "model.onnx.mine").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        export.check(["elsewhere"], tmp_path, ["stablehlo"])


def test_silence_among_recordings_is_not_compared_on(tmp_path):
    wave = np.concatenate([np.zeros(64000), 0.1 * np.sin(np.arange(16000))])
    soundfile.write(tmp_path / "begins_late.wav", wave, 16000)
    whole, *others = exported_lib.recordings(tmp_path, 16000)
    assert all(np.ptp(sound) > 0.1 for sound in (whole, *others))


def test_features_of_ones_own_cannot_be_in_a_graph():
    with pytest.raises(ValueError, match=r"'mine:f' are a function of your own"):
        graphs.check({"features": {"kind": "mine:f"}})
    with pytest.raises(ValueError, match=r"'spectrogram' are a function of numpy"):
        graphs.check({"features": {"kind": "spectrogram"}})


@pytest.mark.slow  # its fast siblings are those above, without a process of its own
def test_the_command_writes_the_folder_and_times_its_answers(tmp_path):
    done = run_command(
        "glam_jax.export",
        str(folder_of("mhcnn", tmp_path)),
        f"--out={tmp_path / 'out'}",
        f"--speech={DATA / 'emodb'}",
        "--format=onnx",
        "--measure",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert glam_jax.load(tmp_path / "out").class_names == CLASSES
    assert done.stdout.count("3 s clip") == done.stdout.count("of real time") == 2


@pytest.mark.parametrize("name", ["glam", "aacnn"])
def test_other_models_answer_alike_in_onnx(name, speech, tmp_path):
    trained = recognizer.load(folder_of(name, tmp_path))
    session = onnx_session(graphs.onnx_model(trained).SerializeToString())
    (answers,) = session.run(None, {"waveform": speech[1][None]})
    expected = trained.probabilities(speech[1])
    np.testing.assert_allclose(answers[0], expected, atol=1e-4)
    assert weights.read(tmp_path / name)["model"] == name


def glam_plus(short):
    """A recognizer of sound with weights that nobody trained."""
    done = {"frontend": "mfcc_pitch", "pad_mode": "reflect", "short": short}
    model = models.create_model("glam_plus", len(CLASSES), inputs.Inputs.of(done))
    variables = model.init(jax.random.key(0), np.ones((1, 1, 32000)), train=False)
    data_set = records.DataSet("demo", "waveform", segment=32000, hop=16000)
    shape = (1, 32000)
    told = weights.describe("glam_plus", CLASSES, "float32", data_set, shape, done)
    return recognizer.Recognizer(model, [variables], told)


def test_a_short_recording_is_filled_up_alike_in_every_graph(speech):
    short, *longer = speech
    trained = glam_plus("silence")
    session = onnx_session(graphs.onnx_model(trained).SerializeToString())
    compiled = jax.export.deserialize(bytearray(graphs.stablehlo(trained)))
    for wave in (short, *longer):
        expected = trained.probabilities(wave)
        (answers,) = session.run(None, {"waveform": wave[None]})
        np.testing.assert_allclose(answers[0], expected, atol=1e-4)
        (answer,) = compiled.call(wave[None])
        np.testing.assert_allclose(answer, expected, atol=1e-4)
    repeated = glam_plus("repeat")
    repeated.variables = trained.variables
    # Of weights that nobody trained, probabilities are near 0 and 1: in logarithms.
    answers = repeated.probabilities(short), trained.probabilities(short)
    assert abs(np.subtract(*np.log(answers))).max() > 0.1
