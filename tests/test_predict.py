"""Emotions of recordings by a command: lines, what cannot be used, live sound."""

import contextlib
import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import DATA

import glam_jax
from data_prep.text import read_csv
from glam_jax import answers, predict, recordings


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Three recordings in two folders, and what is none."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "below").mkdir()
    random = np.random.default_rng(0)
    for name, samples in [("a.wav", 20000), ("below/b.flac", 30000), ("c.wav", 4000)]:
        soundfile.write(folder / name, random.normal(0, 0.1, samples), 16000)
    (folder / "notes.txt").write_text("no sound")
    return folder


def request(finished, **changes):
    asked = {"run": "0", "out": None, "over_time": False, "pictures": None}
    return predict.Request(model=finished.folder, **asked | changes)


def test_each_recording_of_a_folder_is_answered_as_by_the_model(
    finished, sounds, tmp_path, capsys
):
    out = tmp_path / "predictions.csv"
    predict.predict(request(finished, out=out), [str(sounds)])
    header, rows = read_csv(out)
    model = glam_jax.load(finished.folder)
    assert header == ["file", "emotion", *model.class_names, "seconds"]
    assert [row[0] for row in rows] == [
        str(sounds / name) for name in ("a.wav", "c.wav", "below/b.flac")
    ]
    for file, emotion, *probabilities, seconds in rows:
        wave, rate = soundfile.read(file)
        expected = model.probabilities(wave, rate)
        np.testing.assert_allclose(np.array(probabilities, float), expected, atol=2e-6)
        assert emotion == model.class_names[expected.argmax()]
        assert float(seconds) == pytest.approx(len(wave) / rate, abs=1e-3)
    assert "not named as sound: 1 .txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_picture_of_each_recording_shows_it_to_its_end(finished, sounds, tmp_path):
    pictures = tmp_path / "pictures"
    asked = request(finished, pictures=pictures, out=tmp_path / "out.csv")
    predict.predict(asked, [str(sounds / "a.wav")])
    assert {path.suffix for path in pictures.iterdir()} == {".png", ".pdf"}
    found = recordings.find([str(sounds / "a.wav")])[0][0]
    outline = recordings.outline(found, 1.25)
    wave, _ = soundfile.read(sounds / "a.wav")
    assert outline.shape == (2000, 2)
    np.testing.assert_allclose([outline.min(), outline.max()], [wave.min(), wave.max()])
    assert (outline[:, 0] <= outline[:, 1]).all()


def test_a_table_names_files_and_parts_of_them(finished, sounds, tmp_path, capsys):
    rows = "path;start;end\na.wav;;\nbelow/b;0,5;1.5\na.wav;2;1\nnone.wav;;\n"
    (tmp_path / "parts.csv").write_text(rows)
    with pytest.raises(SystemExit):
        predict.predict(
            request(finished), [str(tmp_path / "parts.csv")], source=str(sounds)
        )
    told = capsys.readouterr()
    header, *lines = told.out.splitlines()
    assert header.startswith("file,emotion,")
    cells = [line.split(",") for line in lines]
    assert [(row[0], row[-1]) for row in cells] == [
        ("a.wav", "1.250"),
        ("below/b.flac#0.5-1.5", "1.000"),
    ]
    wave, _ = soundfile.read(sounds / "below" / "b.flac")
    expected = glam_jax.load(finished.folder).probabilities(wave[8000:24000])
    np.testing.assert_allclose(np.array(cells[1][2:-1], float), expected, atol=2e-6)
    assert "2 of 4 recordings cannot be used:" in told.err
    assert "parts.csv, line 5: there is no file" in told.err


def test_a_recording_of_another_kind_is_told(finished, tmp_path, capsys):
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "quiet.wav", random.normal(0, 2e-4, 20000), 16000)
    tone = 0.1 * np.sin(np.arange(20000) / 10)
    soundfile.write(tmp_path / "tone.wav", tone, 16000)
    soundfile.write(tmp_path / "short.wav", random.normal(0, 0.05, 2000), 16000)
    predict.predict(request(finished), [str(tmp_path)])
    warnings = capsys.readouterr().err
    assert "quiet.wav has a level of -74 dB of full scale; in the training" in warnings
    assert "tone.wav has nearly nothing above 4 kHz: -" in warnings
    assert "short.wav has 0.12 s, less than half of a training segment" in warnings


def test_what_cannot_be_used_is_listed_and_the_rest_answered(
    finished, sounds, tmp_path
):
    folder = shutil.copytree(sounds, tmp_path / "sounds")
    soundfile.write(folder / "b.wav", np.zeros(9000), 16000)
    (folder / "d.wav").write_bytes(b"RIFF")
    finished_command = run_command(
        "glam_jax.predict", str(finished.folder), str(folder), "--over_time"
    )
    assert finished_command.returncode == 1
    lines = finished_command.stderr.splitlines()
    assert "2 of 5 recordings cannot be used:" in lines
    assert any("b.wav: is silent" in line for line in lines)
    assert "Traceback" not in finished_command.stderr
    header, *rows = finished_command.stdout.splitlines()
    assert header.startswith("file,start,end,emotion,")
    cells = [row.split(",")[:3] for row in rows]
    assert [cell[1:] for cell in cells if cell[0].endswith("a.wav")] == [
        ["0.000", "0.500"],
        ["0.500", "1.000"],
    ]


def test_an_interrupted_file_is_gone_on_with(finished, sounds, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    predict.predict(request(finished, out=whole), [str(sounds)])
    answered = []

    def kill_after_two(sheet, name, *told, add=answers.Sheet.add, **key):
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(name)
        add(sheet, name, *told, **key)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(answers.Sheet, "add", kill_after_two)
        predict.predict(request(finished, out=out), [str(sounds)])
    with out.open("a") as file:
        file.write("half a li")  # as a kill leaves it
    predict.predict(request(finished, out=out), [str(sounds)])
    assert out.read_bytes() == whole.read_bytes()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(rows[0]) == ["file", "emotion", "probabilities", "seconds"]
    with pytest.raises(ValueError, match=r"whole\.jsonl is there already"):
        predict.predict(request(finished, out=whole), [str(sounds)])


def interrupted(path, *keys):
    """A file of answers as a killed command leaves it."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        answers.kept(path, ("sad", "glad"), False, "asked") as sheet,
    ):
        for key in keys:
            sheet.add(key, [(0, 1)], np.array([[0.25, 0.75]]), key=key)
        raise KeyboardInterrupt


def test_a_file_that_was_deleted_is_begun_anew(tmp_path):
    interrupted(tmp_path / "out.csv", "1")
    (tmp_path / "out.csv").unlink()
    interrupted(tmp_path / "out.csv", "2")
    _, rows = read_csv(tmp_path / "out.csv")
    assert [row[0] for row in rows] == ["2"]


def test_recordings_that_two_tables_call_alike_are_told_apart(
    finished, sounds, tmp_path, monkeypatch
):
    tables = []
    for folder, sound in [("one", "a.wav"), ("two", "c.wav")]:
        (tmp_path / folder).mkdir()
        shutil.copy(sounds / sound, tmp_path / folder / "001.wav")
        tables.append(tmp_path / folder / "labels.csv")
        tables[-1].write_text("file,end\n001.wav,0.2\n")
    named = [str(table) for table in tables]
    assert [recording.name for recording in recordings.find(named)[0]] == [
        f"{tmp_path}/{folder}/001.wav#0-0.2" for folder in ("one", "two")
    ]
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "unlink", lambda _: pytest.fail("is not finished"))
        patch.setattr(predict, "_answer", interrupt_at_the_second())
        predict.predict(request(finished, out=out), named)
    with pytest.raises(
        ValueError, match=r"not named now, such as .*one/001\.wav#0-0\.2"
    ):
        predict.predict(request(finished, out=out), named[1:])
    predict.predict(request(finished, out=out), named)
    assert len(read_csv(out)[1]) == 2


def interrupt_at_the_second(answer=predict._answer):
    answered = []

    def answer_one(request, model, sheet, recording):
        if answered:
            raise KeyboardInterrupt
        answered.append(recording)
        answer(request, model, sheet, recording)

    return answer_one


def test_pictures_of_names_alike_are_two_and_long_names_fit(tmp_path):
    names = ["rec/a.wav", "rec_a.wav", "ж" * 200 + ".wav"]
    files = [
        recordings.file_name(recordings.Recording(name, tmp_path)) for name in names
    ]
    assert len(set(files)) == 3
    assert all(len(f".{name}.png.incomplete".encode()) < 255 for name in files)


def test_another_question_begins_the_file_anew(tmp_path):
    path = tmp_path / "out.csv"
    for asked, done in [("one", set()), ("one", {"1"}), ("other", set())]:
        with (
            contextlib.suppress(KeyboardInterrupt),
            answers.kept(path, ("sad", "glad"), False, asked) as sheet,
        ):
            assert sheet.done == done
            sheet.add("1", [(0, 1)], np.array([[0.25, 0.75]]), key="1")
            raise KeyboardInterrupt
    assert path.read_text() == (
        "file,emotion,sad,glad,seconds\n1,glad,0.250000,0.750000,1.000\n"
    )


def test_two_commands_do_not_write_one_file(tmp_path):
    path = tmp_path / "out.csv"
    with (
        answers.kept(path, ("sad",), False, 1),
        pytest.raises(ValueError, match="is being written by another command"),
        answers.kept(path, ("sad",), False, 1),
    ):
        pass


def test_live_sound_has_a_line_for_each_segment_and_one_for_the_whole(
    finished, sounds, capsys
):
    wave, _ = soundfile.read(sounds / "a.wav", dtype="int16")
    data = wave.tobytes()
    blocks = [data[start : start + 4001] for start in range(0, len(data), 4001)]
    predict.listen(request(finished), "stdin", blocks)
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    model = glam_jax.load(finished.folder)
    times, probabilities = model.over_time(wave)
    told = np.array([row[1:3] + row[4:] for row in rows[1:]], float)
    np.testing.assert_allclose(told[:-1, :2], times, atol=1e-3)
    np.testing.assert_allclose(told[:-1, 2:], probabilities, atol=1e-5)
    np.testing.assert_allclose(told[-1, :2], [0, 1.25])
    np.testing.assert_allclose(told[-1, 2:], model.probabilities(wave), atol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF....WAVE", "is a sound file, and no raw samples"),
        (b"", "holds no samples"),
        (bytes(32000), "is silent"),
    ],
)
def test_live_sound_that_is_none_is_refused(finished, data, message):
    with pytest.raises(ValueError, match=message):
        predict.listen(request(finished), "stdin", [data] if data else [])


def test_a_live_recording_is_not_added_to_another(finished, tmp_path):
    asked = request(finished, out=tmp_path / "live.csv")
    with pytest.raises(ValueError, match="is a sound file"):
        predict.listen(asked, "stdin", [b"RIFF....WAVE"])
    assert not [*tmp_path.iterdir()]
    noise = np.random.default_rng(0).integers(-3000, 3000, 16000).astype("<i2")

    def broken_off():
        yield noise.tobytes()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict.listen(asked, "stdin", broken_off())
    for ask in (
        lambda: predict.listen(asked, "stdin", [noise.tobytes()]),
        lambda: predict.predict(asked, [str(DATA / "emodb" / "wav")]),
    ):
        with pytest.raises(ValueError, match="is there already"):
            ask()
    assert [row[2] for row in read_csv(tmp_path / "live.csv")[1]] == ["0.500", "1.000"]
    assert [path.name for path in tmp_path.iterdir()] == ["live.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name files, folders, tables or '-'"),
        (["nowhere.wav"], "there is no file or folder .*nowhere.wav"),
        (["runs/nowhere", "README.md"], "there is no file or folder .*runs/nowhere"),
        (
            ["tests/data_prep", "README.md"],
            r"tests/data_prep holds no sound \(.*\), and no trained model \(model",
        ),
        (["README.md", "--out=x.txt"], "must end with .csv or .jsonl"),
        (["--run=3", "tests/data/emodb/wav"], "has no finished run 3"),
        (["-", "README.md"], "'-' and --microphone are listened to alone"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(arguments, message):
    finished = run_command("glam_jax.predict", *arguments)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert re.search(f"^error: .*{message}", line)
