"""The whole program on a small prepared corpus: files, resuming, refusals."""

import hashlib
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import soundfile
from helpers import numbers, prepare, rows, shorten
from networks import TINY

import glam_jax
from configs import crema_d as crema_d_config
from configs import demo as demo_config
from configs import emodb as emodb_config
from configs import iemocap as iemocap_config
from configs import ravdess as ravdess_config
from data_prep.corpora import crema_d, demo, emodb, ravdess
from glam_jax import input_pipeline, program, progress, report, results, train

pytestmark = pytest.mark.usefixtures("without_figures")
OUTPUTS = (
    "config.json",
    "metrics.jsonl",
    "checkpoints",
    "predictions.csv",
    "report.json",
    "report.md",
    "model.json",
    "utterances.csv",
    "confusion.png",
    "curves.png",
    "embedding.png",
    "reliability.pdf",
    "splits.csv",
    "tensorboard/run_001",  # with the extra
)


def test_every_output_is_there(finished):
    folder, report = finished.folder, finished.report
    for name in OUTPUTS:
        assert (folder / name).exists(), name
    assert json.loads((folder / "report.json").read_text()) == report
    assert [(row["run"], row["epoch"]) for row in rows(folder)] == [
        (run, epoch) for run in (0, 1) for epoch in (1, 2)
    ]
    assert not [path for path in folder.iterdir() if "incomplete" in path.name]


def test_the_report_agrees_with_its_rows_and_predictions(finished):
    folder, report = finished.folder, finished.report
    predictions = np.genfromtxt(
        folder / "predictions.csv", delimiter=",", dtype=str, skip_header=1
    )
    classes = report["classes"]
    for run in report["runs"]:
        of_run = predictions[predictions[:, 1] == str(run["run"])]
        probabilities = of_run[:, 3:].astype(float)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        predicted = np.array(classes)[probabilities.argmax(axis=1)]
        wa = 100 * (predicted == of_run[:, 2]).mean()
        epochs = [row for row in rows(folder) if row["run"] == run["run"]]
        best = max(epochs, key=lambda row: row["wa"] + row["ua"])
        assert run["selected"]["epoch"] == best["epoch"]
        assert run["selected"]["wa"] == best["wa"] == pytest.approx(wa)
        assert run["last"]["wa"] == epochs[-1]["wa"]


def test_runs_differ(finished):
    folder = finished.folder
    losses = [row["loss"] for row in rows(folder)]
    assert len(set(losses)) == len(losses)


def test_a_complete_training_is_not_repeated(finished, capsys):
    folder, report = finished.folder, finished.report
    config = finished.config.copy_and_resolve_references()
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    assert train.train_and_evaluate(config, str(folder)) == report
    assert "complete" in capsys.readouterr().out
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("run", [0, 1])
def test_sigterm_between_epochs_then_the_same_command_gives_the_same_numbers(
    finished, tmp_path, monkeypatch, run
):
    folder, report = finished.folder, finished.report
    config = finished.config.copy_and_resolve_references()
    show = progress.Progress.epoch

    def show_and_stop(self, group, rows):
        show(self, group, rows)
        if (rows[0]["run"], rows[0]["epoch"]) == (run, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "epoch", show_and_stop)
        with pytest.raises(train.Preempted):
            train.train_and_evaluate(config, str(tmp_path))
    assert not (tmp_path / "report.json").exists()
    again = train.train_and_evaluate(config, str(tmp_path))
    assert numbers(again) == numbers(report)
    assert rows(tmp_path) == rows(folder)


def test_sigterm_within_an_epoch_then_a_stream_gives_the_same_numbers(
    finished, tmp_path, monkeypatch
):
    """It goes on in the middle of an epoch, with segments from the records."""
    config = finished.config.copy_and_resolve_references()
    train_six_steps(config, tmp_path, monkeypatch)
    config.input = "stream"
    again = train.train_and_evaluate(config, str(tmp_path))
    assert numbers(again) == numbers(finished.report)
    assert rows(tmp_path) == rows(finished.folder)


def train_six_steps(config, folder, monkeypatch):
    """SIGTERM stops a training after as many steps, which are saved."""
    pace, calls = program.Pace, []
    adjust = pace.adjust

    def adjust_and_stop(self, seconds_per_row):
        adjust(self, seconds_per_row)
        calls.append(seconds_per_row)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(program, "SECONDS_PER_CALL", 0.0)  # one step in a call
        patch.setattr(program, "Pace", lambda: pace(rows=1))
        patch.setattr(pace, "adjust", adjust_and_stop)
        with pytest.raises(train.Preempted):
            train.train_and_evaluate(config, str(folder))
    assert not rows(folder)
    assert (folder / "checkpoints" / "run_000" / "6").is_dir()


@pytest.mark.slow  # the tests around it do the same with a tiny network
def test_the_papers_network_goes_on_within_an_epoch_and_is_loaded(
    data_dir, tmp_path, monkeypatch
):
    config = shorten(demo_config.get_config(), data_dir)
    assert config.model == "glam"
    config.num_epochs = 1
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    report = train.train_and_evaluate(config, str(whole))
    train_six_steps(config, stopped, monkeypatch)
    assert numbers(train.train_and_evaluate(config, str(stopped))) == numbers(report)
    predictions = (whole / "predictions.csv").read_text()
    assert (stopped / "predictions.csv").read_text() == predictions
    utterance, _, _, *expected = predictions.splitlines()[1].split(",")
    (sound,) = (data_dir / "demo_corpus").rglob(f"{utterance}.wav")
    wave, rate = soundfile.read(sound)
    found = glam_jax.load(stopped).probabilities(wave, rate)
    np.testing.assert_allclose(found, np.array(expected, float), atol=1e-5)


def test_a_crash_before_the_checkpoint_repeats_the_epoch(
    finished, tmp_path, monkeypatch
):
    """As kill -9 would: the row of the second epoch is written, its state is not."""
    folder, report = finished.folder, finished.report
    config = finished.config.copy_and_resolve_references()
    show = progress.Progress.epoch

    def show_and_crash(self, group, rows):
        show(self, group, rows)
        if rows[0]["epoch"] == 2:
            raise RuntimeError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "epoch", show_and_crash)
        with pytest.raises(RuntimeError, match="crash"):
            train.train_and_evaluate(config, str(tmp_path))
    assert len(rows(tmp_path)) == 2
    again = train.train_and_evaluate(config, str(tmp_path))
    assert numbers(again) == numbers(report)
    assert rows(tmp_path) == rows(folder)


def edit(path, change):
    """Changes one digit of a file's number, as a flipped bit or a hand would."""
    before, after = change
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metrics.jsonl", ('"wa": ', '"wa": 9')),
        ("metrics.jsonl", ('{"run": 1, "seed": 1, "fold": "", "epoch": 1', "{")),
        ("predictions.csv", (",0.", ",0.9")),
        ("predictions.csv", (",0,", ",7,")),
        ("report.json", ('"mean": ', '"mean": 9')),
        ("report.md", ("|", "!")),
        ("utterances.csv", ("Ses01", "Ses02")),
        ("splits.csv", ("test", "text")),
    ],
)
def test_numbers_that_were_not_written_are_made_again(
    finished, tmp_path, capsys, name, change
):
    folder = shutil.copytree(finished.folder, tmp_path / "edited")
    if name in ("metrics.jsonl", "predictions.csv", "splits.csv"):
        (folder / "report.json").unlink()  # these are believed without it
    edit(folder / name, change)
    again = train.train_and_evaluate(finished.config, str(folder))
    assert re.search(r"not (those that were|what was) written", capsys.readouterr().out)
    assert numbers(again) == numbers(finished.report)
    assert sorted(map(str, rows(folder))) == sorted(map(str, rows(finished.folder)))
    with open(finished.folder / "predictions.csv") as theirs:
        ours = (folder / "predictions.csv").read_text()
        assert sorted(ours.splitlines()) == sorted(theirs.read().splitlines())


def test_scores_on_what_trained_are_marked(finished, tmp_path, without_figures):
    config = finished.config.copy_and_resolve_references()
    config.update(protocol="everything", num_runs=1, num_epochs=1)
    warned = train.train_and_evaluate(config, str(tmp_path))["splits"]["warnings"]
    assert "utterances are tested that trained" in " ".join(warned)


def test_a_repair_that_is_killed_goes_on(finished, tmp_path, monkeypatch):
    """The report of before does not stand for what is being made again."""
    folder = shutil.copytree(finished.folder, tmp_path / "damaged")
    edit(folder / "predictions.csv", (",0.", ",0.9"))

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "write", kill)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(finished.config, str(folder))
    assert not results.is_whole(folder)
    again = train.train_and_evaluate(finished.config, str(folder))
    assert numbers(again) == numbers(finished.report) and results.is_whole(folder)


def test_weights_that_were_not_written_are_trained_again(finished, tmp_path, capsys):
    folder = shutil.copytree(finished.folder, tmp_path / "damaged")
    chosen = results.read_json(folder / "model.json")["runs"][1]["weights"]
    for path in (folder / chosen).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    again = train.train_and_evaluate(finished.config, str(folder))
    printed = capsys.readouterr().out
    assert f"{folder / chosen} is not what was written; it is made again" in printed
    assert numbers(again) == numbers(finished.report)


@pytest.mark.parametrize("name", ["config.json", "model.json"])
@pytest.mark.parametrize("content", [None, '{"half": '])
def test_a_damaged_description_is_named(finished, tmp_path, name, content):
    folder = shutil.copytree(finished.folder, tmp_path / "damaged")
    (folder / name).unlink()
    if content:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}.*another --workdir"):
        train.train_and_evaluate(finished.config, str(folder))


@pytest.mark.parametrize("left", ["metrics.jsonl", "predictions.csv", "report.json"])
def test_a_folder_with_any_result_is_its_configs(finished, tmp_path, left):
    """Also without its checkpoints: nobody gets the table of another config."""
    folder = shutil.copytree(finished.folder, tmp_path / "mine")
    for path in folder.iterdir():
        if path.name not in (left, "config.json", "model.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    config = finished.config.copy_and_resolve_references()
    config.mixup_alpha = 0.3
    before = (folder / "config.json").read_text()
    with pytest.raises(ValueError, match=r"mixup_alpha: 0\.5 there, 0\.3 here"):
        train.train_and_evaluate(config, str(folder))
    assert (folder / "config.json").read_text() == before


def test_other_data_under_the_same_name_are_refused(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished.folder, tmp_path / "began")
    (folder / "report.json").unlink()
    load = input_pipeline.load

    def another_recording(config):
        dataset = load(config)
        dataset.groups.content[0] = "0123456789abcdef"
        return dataset

    monkeypatch.setattr(input_pipeline, "load", another_recording)
    with pytest.raises(ValueError, match="begun with other data"):
        train.train_and_evaluate(finished.config, str(folder))


def test_a_workdir_of_another_config_is_refused(finished):
    folder = finished.folder
    config = finished.config.copy_and_resolve_references()
    config.mixup_alpha = 0.3
    with pytest.raises(ValueError, match=r"mixup_alpha: 0\.5 there, 0\.3 here"):
        train.train_and_evaluate(config, str(folder))


def test_a_loss_that_is_not_finite_names_epoch_step_and_run(config, tmp_path):
    config.learning_rate = 1e38
    with pytest.raises(
        FloatingPointError, match=r"in epoch 1, step \d+ of run 0 \(seed 0\)"
    ):
        train.train_and_evaluate(config, str(tmp_path))


def test_a_batch_that_the_devices_cannot_share_is_refused(config, tmp_path):
    config.batch_size = 18
    with pytest.raises(ValueError, match=r"batch_size 18 .* 4 devices"):
        train.train_and_evaluate(config, str(tmp_path))


def test_numbers_that_make_no_sense_are_refused(config, tmp_path):
    config.num_epochs = 0
    with pytest.raises(ValueError, match=r"num_epochs must be from 1 to .*, not 0"):
        train.train_and_evaluate(config, str(tmp_path))


def test_folds_of_the_speaker_protocol(config, tmp_path):
    """Every speaker is the test once, in one compilation for folds of all sizes."""
    config.protocol = "speaker"
    config.num_runs = 0
    config.num_epochs = 1
    report = train.train_and_evaluate(config, str(tmp_path))
    assert [run["fold"] for run in report["runs"]] == [
        "Ses01F",
        "Ses01M",
        "Ses02F",
        "Ses02M",
    ]
    assert report["selection"] == "last"
    assert sum(run["test_utterances"] for run in report["runs"]) == 112
    assert np.sum(report["confusion_matrix"]) == 112


def test_a_split_file_of_an_earlier_training_gives_the_same_numbers(finished, tmp_path):
    folder, report = finished.folder, finished.report
    config = finished.config.copy_and_resolve_references()
    config.split_file = str(folder / "splits.csv")
    again = train.train_and_evaluate(config, str(tmp_path))
    sha256 = report["splits"]["sha256"]
    file = {"file": str(folder / "splits.csv"), "file_sha256": sha256}
    assert again["splits"] == report["splits"] | file
    assert again["summary"] == report["summary"]
    with open(folder / "splits.csv", "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256


@pytest.fixture
def leaking_file(config, tmp_path):
    """A split of the data set's utterances with speaker Ses01F on both sides."""
    ids = input_pipeline.load(config).ids
    path = tmp_path / "leaking.csv"
    cells = ["test" if "Ses01" in name else "train" for name in ids]
    first = next(k for k, name in enumerate(ids) if name.startswith("Ses01F_impro01_F"))
    cells[first] = "train"
    rows = [f"{name},{cell}" for name, cell in zip(ids, cells, strict=True)]
    path.write_text("\n".join(["utterance,mine", *rows]) + "\n")
    return path


@pytest.mark.parametrize("protocol", ["session", "speaker"])
def test_a_leaking_split_file_is_refused_by_the_honest_protocols(
    config, leaking_file, tmp_path, protocol
):
    config.split_file, config.protocol = str(leaking_file), protocol
    with pytest.raises(ValueError, match=r"both in training and .*speaker Ses01F"):
        train.train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_leaking_split_file_is_reported_by_the_papers_protocol(
    config, leaking_file, tmp_path
):
    config.split_file, config.num_epochs = str(leaking_file), 1
    report = train.train_and_evaluate(config, str(tmp_path / "run"))
    assert report["runs"][0]["fold"] == "mine"
    assert report["splits"]["both_sides"]["speaker"] == {"shared": 1, "tested": 2}
    text = (tmp_path / "run" / "report.md").read_text()
    assert "on both sides: 1 of 2 speakers" in text


def test_splits_that_changed_since_the_training_began_are_refused(
    config, leaking_file, tmp_path
):
    config.split_file, config.num_epochs = str(leaking_file), 1
    train.train_and_evaluate(config, str(tmp_path / "run"))
    text = leaking_file.read_text()
    leaking_file.write_text(text.replace(",train", ",validation", 1))
    with pytest.raises(ValueError, match="begun with other splits"):
        train.train_and_evaluate(config, str(tmp_path / "run"))


def test_another_recipe_trains(config, data_dir, tmp_path):
    """SGD, warm-up and cosine, class weights, another hop in the test."""
    prepare(demo.read(data_dir / "demo_corpus"), "demo", data_dir, hop=4000)
    config.update(
        test_hop=4000,
        optimizer="sgd",
        learning_rate=0.01,
        schedule="cosine",
        warmup_epochs=1,
        class_weights=True,
    )
    report = train.train_and_evaluate(config, str(tmp_path / "weighted"))
    assert report["runs"][0]["last"]["epoch"] == 2
    weighted = rows(tmp_path / "weighted")
    config.class_weights = False
    train.train_and_evaluate(config, str(tmp_path / "not"))
    assert abs(rows(tmp_path / "not")[0]["loss"] - weighted[0]["loss"]) > 1e-3


@pytest.mark.parametrize("field", ["model", "optimizer", "schedule", "protocol"])
def test_a_wrong_name_is_refused_with_the_right_ones(config, tmp_path, field):
    config[field] = "none"
    names = {"model": "glam", "optimizer": "adam, adamw, sgd", "schedule": "exp, step"}
    with pytest.raises(ValueError, match=f"'none'.*{names.get(field, 'paper')}"):
        train.train_and_evaluate(config, str(tmp_path))


def test_segments_too_small_for_the_model_are_refused(config, data_dir, tmp_path):
    """Segments of 1,000 samples have two frames; GLAM needs four."""
    prepare(demo.read(data_dir / "demo_corpus"), "demo", data_dir, 1000, 8000)
    config.update(segment=1000, model="glam")
    with pytest.raises(ValueError, match=r"at least 2 x 4 .* not 26 x 2"):
        train.train_and_evaluate(config, str(tmp_path))


def test_811_selects_on_the_validation_utterances(config, tmp_path):
    config.protocol = "paper_811"
    report = train.train_and_evaluate(config, str(tmp_path))
    chosen = max(
        rows(tmp_path), key=lambda row: row["validation_wa"] + row["validation_ua"]
    )
    assert report["runs"][0]["selected"]["epoch"] == chosen["epoch"]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [("impro", ("impro",)), ("script", ("script",)), ("full", ("impro", "script"))],
)
def test_subsets_of_iemocap_are_tfds_splits(subset, expected):
    assert iemocap_config.get_config(subset).tfds_splits == expected


@pytest.fixture(scope="module")
def all_corpora(data_dir, tmp_path_factory):
    """Small stand-ins for all corpora, prepared by their readers from demo speech."""
    folder = tmp_path_factory.mktemp("all")
    turns = demo.read(data_dir / "demo_corpus")
    prepare(turns, "demo", folder)
    prepare(turns, "iemocap", folder)
    sounds = [turn.path for turn in turns.utterances]
    names = {
        "emodb": [
            f"{speaker:02}a{text:02}{emotion}a.wav"
            for speaker in range(8)
            for text in range(4)
            for emotion in "NTWF"
        ],
        "ravdess": [
            f"Actor_{actor:02}/03-01-0{emotion}-01-0{text}-01-{actor:02}.wav"
            for actor in range(1, 9)
            for emotion in range(1, 9)
            for text in (1, 2)
        ],
        "AudioWAV": [
            f"{1001 + actor}_{text}_{emotion}_XX.wav"
            for actor in range(6)
            for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
            for text in ("IEO", "TIE", "IOM")
        ],
    }
    for corpus, files in names.items():
        for file, sound in zip(files, sounds, strict=False):
            (folder / corpus / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / corpus / file).symlink_to(sound)
    prepare(emodb.read(folder / "emodb"), "emodb", folder)
    prepare(ravdess.read(folder / "ravdess"), "ravdess", folder)
    prepare(crema_d.read(folder), "crema_d", folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        iemocap_config.get_config(),
        emodb_config.get_config(),
        ravdess_config.get_config(),
        crema_d_config.get_config(),
        demo_config.get_config(),
    ],
    ids=lambda config: config.corpus,
)
def test_every_config_file_trains(config, all_corpora, tmp_path):
    shorten(config, all_corpora)
    config.update(num_epochs=1, model=TINY)
    report = train.train_and_evaluate(config, str(tmp_path))
    assert report["runs"][0]["last"]["epoch"] == 1
