"""The floor: functionals of utterances, a linear classifier, a training's report."""

import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import numbers, shorten

import glam_jax
from configs import demo as demo_config
from data_prep import preparation, records
from data_prep.corpora import demo
from glam_jax import evaluation, exported, linear, prepared, results, values

opensmile = pytest.importorskip("opensmile", reason="needs pip install -e .[floor]")
KIND = "eGeMAPSv02"


@pytest.fixture(scope="module")
def utterances(data_dir):
    """A third of the demo corpus, which four speakers speak."""
    return demo.read(data_dir / "demo_corpus").utterances[::3]


@pytest.fixture(scope="module")
def config(data_dir, utterances):
    data_set = records.DataSet("demo", KIND, 8000, 8000)
    usable = [preparation.check(utterance) for utterance in utterances]
    preparation.write(data_set, data_dir, usable, source="demo")
    config = shorten(demo_config.get_config(), data_dir)
    config.protocol, config.num_runs = "speaker", 0
    config.frontend, config.augment.speed = "mfcc_pitch", 0.1  # a network's, not its
    config = prepared.of_functionals(config, KIND)
    values.check(config)
    return config


@pytest.fixture(scope="module")
def measured(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("floor")
    return folder, linear.train_and_evaluate(config, folder, 0.01)


def test_functionals_are_opensmiles_of_whole_utterances(config, utterances):
    (data_set,), *_ = prepared.cuts(config)
    found, shape = records.read(data_set, config.data_dir)
    assert shape == (88, 1)
    assert [record.segments for record in found] == [1] * len(utterances)
    smile = opensmile.Smile(
        opensmile.FeatureSet[KIND], opensmile.FeatureLevel.Functionals
    )
    wave, rate = soundfile.read(utterances[0].path, dtype="float32")
    actual = found[0].source[found[0].place]["features"][0, :, 0]
    expected = smile.process_signal(wave, rate).to_numpy()[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_the_report_is_that_of_a_training(measured):
    folder, report = measured
    assert [run["fold"] for run in report["runs"]] == [
        *("Ses01F", "Ses01M", "Ses02F", "Ses02M")
    ]
    assert sum(run["test_utterances"] for run in report["runs"]) == 37
    told = (folder / "report.md").read_text()
    assert "linear_svm on demo impro+script, protocol speaker" in told
    assert "classifier linear support vector machines" in told and "C 0.01" in told
    training = results.read(folder)
    np.testing.assert_allclose(training.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_it_is_no_model_that_listens_to_something_else(measured, tmp_path):
    """Said at once, and not after functionals of another corpus were prepared."""
    folder, _ = measured
    with pytest.raises(ValueError, match="is the floor of a corpus"):
        glam_jax.load(folder)
    elsewhere = demo_config.get_config()
    elsewhere.data_dir = str(tmp_path)
    with pytest.raises(ValueError, match="is the floor of a corpus"):
        evaluation.evaluate(evaluation.Question(folder, elsewhere), tmp_path / "out")
    with pytest.raises(ValueError, match="is the floor of a corpus"):
        exported.write(folder, tmp_path / "out", "0", [])
    assert not [*tmp_path.iterdir()]


def test_a_damaged_run_is_measured_again_and_a_finished_one_kept(measured, config):
    folder, report = measured
    before = (folder / "predictions.csv").read_bytes()
    again = linear.train_and_evaluate(config, folder, 0.01)
    assert again == report
    (folder / "report.json").unlink()
    (folder / "checkpoints" / "run_001" / "linear.safetensors").write_bytes(b"")
    again = linear.train_and_evaluate(config, folder, 0.01)
    assert numbers(again) == numbers(report)
    assert (folder / "predictions.csv").read_bytes() == before


def test_the_penalty_is_chosen_on_speakers_that_are_held_out():
    """What tells classes apart is each speaker's own, but for one feature."""
    random = np.random.default_rng(0)
    y = np.tile([0, 1], 60)
    speaker = np.repeat(np.arange(6), 20)
    x = random.normal(size=(120, 40))
    x[:, 0] += 1.5 * (2 * y - 1)
    own = 0.7 * random.normal(size=(6, 39))[speaker]
    x[:, 1:] += own * (2 * y - 1)[:, None]
    chosen = linear.choose(x, y, speaker)
    scores = {
        penalty: np.mean(
            [
                linear.fit(x[speaker != s], y[speaker != s], penalty).score(
                    x[speaker == s], y[speaker == s]
                )
                for s in range(6)
            ]
        )
        for penalty in linear.PENALTIES
    }
    assert scores[chosen] > max(scores.values()) - 0.02
    assert chosen != linear.choose(x, y, np.zeros(120, int))  # on utterances


def test_the_penalty_of_a_fold_is_chosen_on_what_trains_in_it(
    config, tmp_path, monkeypatch
):
    sizes = []

    def choose(x, y, groups):
        assert len(x) == len(y) == len(groups)
        sizes.append(len(x))
        return 0.01

    monkeypatch.setattr(linear, "choose", choose)
    report = linear.train_and_evaluate(config, tmp_path, None)
    assert sizes == [run["train_utterances"] for run in report["runs"]]


@pytest.mark.filterwarnings("error::RuntimeWarning")  # the mean of no fold
def test_without_speakers_the_penalty_is_chosen_on_utterances():
    random = np.random.default_rng(0)
    y = np.tile([0, 1, 2], 20)
    x = random.normal(size=(60, 5)) + y[:, None]
    assert linear.choose(x, y, np.zeros(60, int)) in linear.PENALTIES


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_speakers_of_one_class_each_do_not_end_the_choice():
    random = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)  # the class is the speaker
    x = random.normal(size=(40, 5)) + y[:, None]
    assert linear.choose(x, y, y) in linear.PENALTIES


def test_another_penalty_is_another_training(measured, config):
    folder, _ = measured
    with pytest.raises(ValueError, match=r"C: 0\.01 there, 1\.0 here"):
        linear.train_and_evaluate(config, folder, 1.0)


def test_what_is_not_prepared_is_told_with_its_command(tmp_path):
    result = run_command(
        "glam_jax.floor",
        "--config=configs/emodb.py",
        f"--config.data_dir={tmp_path}",
    )
    assert result.returncode == 1
    assert "--corpus=emodb" in result.stderr
    assert "--features=ComParE_2016" in result.stderr
    assert "Traceback" not in result.stderr
