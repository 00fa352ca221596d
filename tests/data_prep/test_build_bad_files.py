"""Files that cannot be used: named, listed, left out."""

import csv
import os
import shutil

import numpy as np
import pytest
import soundfile
from builds import BUILD, SHORT, ids, only_data_set, read, run, run_script
from small_corpora import (
    contents,
    wav_of,
    write_crema_d,
    write_iemocap,
    write_ravdess,
)

from data_prep import audio, builder, records
from data_prep.corpora import Utterance
from data_prep.text import read_csv


def test_bad_files_are_all_named_and_nothing_is_written(damaged, tmp_path):
    source, reasons = damaged
    data_dir = tmp_path / "data"
    settings = {"corpus": "emodb", "source": source, "data_dir": data_dir}
    finished = run_script(BUILD, **settings, workers=1)
    assert finished.returncode == 1
    for path, reason in reasons.items():
        assert f"  {path}: {reason}\n" in finished.stdout
    assert finished.stderr.startswith("error: nothing was written")
    assert "--skip_bad" in finished.stderr
    assert not data_dir.exists()


def test_skip_bad_leaves_only_the_bad_out_and_lists_them(damaged, tmp_path):
    source, reasons = damaged
    data_dir = tmp_path / "data"
    before = contents(source)
    settings = {"source": source, "data_dir": data_dir, "skip_bad": "true"}
    printed, error = run(corpus="emodb", **settings, **SHORT)
    assert error == ""
    assert all(path in printed for path in reasons)
    folder = only_data_set(data_dir)
    assert ids(folder) == ["03a01Nc", "09a05Wb"]
    with (folder / "left_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"]: row["reason"] for row in rows} == reasons
    assert len(rows) == len(reasons)
    assert contents(source) == before


def test_without_bad_files_skip_bad_lists_nothing(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", "skip_bad": "true"}
    run(corpus="emodb", **settings, **SHORT)
    assert not (only_data_set(tmp_path / "data") / "left_out.csv").exists()


def test_a_corpus_of_bad_files_alone_gives_no_data_set(small, tmp_path):
    for wav in (small / "wav").iterdir():
        wav.write_bytes(b"")
    settings = {"source": small, "data_dir": tmp_path / "data", "skip_bad": "true"}
    _, error = run(corpus="emodb", **settings, **SHORT)
    assert error == "error: nothing was written: no recording is left."
    assert not (tmp_path / "data").exists()


def test_a_bad_turn_of_iemocap_is_named_as_well(tmp_path):
    turns = {"Ses01F_impro01_F000": "neu", "Ses01F_impro01_M000": "sad"}
    source = write_iemocap(tmp_path / "IEMOCAP", turns)
    wav = wav_of(source, "Ses01F_impro01_M000")
    wav.write_bytes(wav.read_bytes()[:1000])
    wav_of(source, "Ses01F_impro01_F000").unlink()
    data_dir = tmp_path / "data"
    printed, error = run(corpus="iemocap", source=source, data_dir=data_dir, **SHORT)
    assert f"{wav}: is cut short" in printed
    assert "Ses01F_impro01_F000 has a label but no wav" in printed
    assert error.startswith("error: nothing was written")


def test_a_bad_name_that_is_not_utf_8_can_be_listed(small, tmp_path):
    name = os.fsencode(small / "wav") + b"/03a01Fa f\xfcr.wav"
    try:
        shutil.copy(os.fsencode(small / "wav" / "03a01Fa.wav"), name)
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    settings = {"source": small, "data_dir": tmp_path / "data", "skip_bad": "true"}
    printed, error = run(corpus="emodb", **settings, **SHORT)
    assert error == ""
    printed.encode()  # a strict terminal can show it
    text = (only_data_set(tmp_path / "data") / "left_out.csv").read_text()
    assert r"03a01Fa f\udcfcr.wav,the name tells no label" in text


def test_control_characters_of_a_file_name_are_escapes_on_the_terminal(small, tmp_path):
    name = "03a01\x1b[31m\nFa.wav"
    shutil.copy(small / "wav" / "03a01Fa.wav", small / "wav" / name)
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT}
    printed, error = run(corpus="emodb", **settings)
    assert r"03a01\x1b[31m\nFa.wav: the name tells no label" in printed
    assert "\x1b" not in printed + error
    printed, error = run(corpus="emodb", **settings, skip_bad="true")
    assert error == ""
    _, rows = read_csv(only_data_set(tmp_path / "data") / "left_out.csv")
    assert rows[0][0] == str(small / "wav" / name)


def test_a_file_lost_between_check_and_work_is_named(small, tmp_path):
    lost = Utterance("03a01Fa", tmp_path / "03a01Fa.wav", "happiness", "03")
    config = records.DataSet(corpus="emodb", **SHORT)
    with pytest.raises(audio.AudioError, match=r"/03a01Fa\.wav: no such file"):
        builder.record(lost, config)


def test_a_song_among_the_speech_is_refused_or_left_out_and_listed(tmp_path):
    names = ["03-01-06-01-02-01-12", "03-02-06-01-02-01-12"]
    source = write_ravdess(tmp_path / "RAVDESS", *names)
    settings = {"source": source, "data_dir": tmp_path / "data", **SHORT}
    printed, error = run(corpus="ravdess", **settings)
    assert "03-02-06-01-02-01-12.wav: is a song, not speech" in printed
    assert error.startswith("error: nothing was written")
    _, error = run(corpus="ravdess", **settings, skip_bad="true")
    assert error == ""
    folder = only_data_set(tmp_path / "data")
    assert ids(folder) == names[:1]
    assert "03-02-06-01-02-01-12.wav" in (folder / "left_out.csv").read_text()


def test_the_silent_recording_of_crema_d_is_left_out_and_missed(tmp_path):
    names = ["1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1076_MTI_SAD_XX"]
    source = write_crema_d(tmp_path / "CREMA-D", *names)
    soundfile.write(source / "AudioWAV" / "1076_MTI_SAD_XX.wav", np.zeros(4800), 16000)
    settings = {"source": source, "data_dir": tmp_path / "data", **SHORT}
    printed, error = run(corpus="crema_d", **settings)
    assert "1076_MTI_SAD_XX.wav: is silent" in printed
    assert error.startswith("error: nothing was written")
    printed, error = run(corpus="crema_d", **settings, skip_bad="true")
    assert error == ""
    assert "SAD 1 of 1271" in printed
    records = read(only_data_set(tmp_path / "data"))
    fields = ("id", "emotion", "speaker", "text", "intensity")
    assert [[record[field].decode() for field in fields] for record in records] == [
        ["1001_DFA_ANG_XX", "ANG", "1001", "DFA", "XX"],
        ["1040_ITH_SAD_X", "SAD", "1040", "ITH", "XX"],
    ]
