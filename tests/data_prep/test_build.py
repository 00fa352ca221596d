"""The command line: from wav files to records, what it says and what it leaves."""

import csv
import shutil
import tracemalloc
import weakref

import commands
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from builds import (
    BUILD,
    SHORT,
    assert_same_records,
    ids,
    only_data_set,
    read,
    run,
    run_script,
)
from small_corpora import (
    EMODB,
    contents,
    noise,
    write_crema_d,
    write_iemocap,
    write_ravdess,
)

from data_prep import audio, build, builder, features, records
from data_prep.corpora import Utterance, demo, emodb


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """EmoDB as people have it: with a short recording, and one of 44.1 kHz stereo."""
    folder = tmp_path_factory.mktemp("corpus") / "emodb"
    shutil.copytree(EMODB, folder)
    soundfile.write(folder / "wav" / "08a01Na.wav", noise(8000), 16000)
    stereo = np.stack([noise(88200), noise(88200, seed=1)], axis=1)
    soundfile.write(folder / "wav" / "16b10Lc.wav", stereo, 44100)
    return folder


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    """(data folder, data set's folder, what was printed) of that corpus."""
    data_dir = tmp_path_factory.mktemp("data")
    before = contents(corpus)
    printed, error = run(corpus="emodb", source=corpus, data_dir=data_dir)
    assert error == ""
    assert contents(corpus) == before, "the corpus has changed"
    return data_dir, only_data_set(data_dir), printed


def test_a_record_holds_the_fields_and_the_features_of_its_wav(corpus, prepared):
    records = read(prepared[1])
    expected = emodb.read(corpus).utterances
    assert len(records) == len(expected) == 5
    for record, utterance in zip(records, expected, strict=True):
        wave = audio.read(utterance.path).wave
        segments = features.segment(wave, 28800, 3199)
        mfcc = features.extract("mfcc", segments, "reflect")
        np.testing.assert_array_equal(record.pop("features"), mfcc)
        assert record == {
            "id": utterance.id.encode(),
            "emotion": utterance.emotion.encode(),
            "speaker": utterance.speaker.encode(),
            "session": b"",
            "dialogue": b"",
            "kind": b"",
            "text": utterance.text.encode(),
            "intensity": b"",
            "content": audio.read(utterance.path).digest().encode(),
            "num_samples": len(wave),
            "padded": len(wave) < 28800,
        }


def test_the_schema_is_the_one_that_training_reads(prepared):
    info = tfds.builder_from_directory(prepared[1]).info
    assert set(info.splits) == {"train"}
    schema = dict(info.features)
    tensor = schema.pop("features")
    assert (tensor.shape, tensor.np_dtype) == ((None, 26, 57), np.float32)
    assert schema.pop("num_samples").np_dtype == np.int64
    assert schema.pop("padded").np_dtype == np.bool_
    texts = {"id", "emotion", "speaker", "session", "dialogue", "kind"}
    texts |= {"text", "intensity", "content"}
    assert schema.keys() == texts
    assert all(isinstance(schema[name], tfds.features.Text) for name in texts)
    (record, *_) = read(prepared[1])
    assert record["features"].dtype == np.float32


def test_the_folder_is_named_after_corpus_features_and_segments(prepared):
    data_dir, folder, _ = prepared
    name = "emodb_mfcc_28800_3199_reflect"
    assert folder == data_dir / "speech_emotion" / name / records.VERSION


def test_a_short_utterance_is_kept_as_one_segment_and_marked(prepared):
    records = {record["id"]: record for record in read(prepared[1])}
    short = records[b"08a01Na"]
    assert short["padded"]
    assert short["num_samples"] == 8000
    assert short["features"].shape == (1, 26, 57)
    assert not any(r["padded"] for id_, r in records.items() if id_ != b"08a01Na")


def test_the_summary_counts_utterances_segments_and_short_ones(prepared):
    _, folder, printed = prepared
    summary = (folder / "summary.txt").read_text()
    assert summary in printed
    rows = [line.split()[:5] for line in summary.splitlines()]
    assert rows[1:7] == [
        ["train", "anger", "1", "9", "0"],
        ["train", "boredom", "1", "2", "0"],
        ["train", "happiness", "1", "1", "0"],
        ["train", "neutral", "1", "0", "1"],
        ["train", "sadness", "1", "10", "0"],
        ["train", "all", "5", "22", "1"],
    ]


def test_recordings_that_had_to_be_converted_are_counted(prepared):
    lines = [line for line in prepared[2].splitlines() if "converted" in line]
    assert lines == ["converted to 16 kHz mono: 1 recordings of 44100 Hz, 2 channels"]


def test_a_second_call_says_so_and_changes_nothing(corpus, prepared):
    data_dir, folder, _ = prepared
    before = contents(data_dir)
    printed, error = run(corpus="emodb", source=corpus, data_dir=data_dir)
    assert error == ""
    assert f"{folder} was prepared before" in printed
    assert (folder / "summary.txt").read_text() in printed
    assert contents(data_dir) == before


def test_two_workers_write_bit_for_bit_what_one_writes(corpus, prepared, tmp_path):
    # In a process of its own: with JAX in it, this one is not to be forked.
    script = f"builder._UTTERANCES_IN_FILE = 2\n{BUILD}"
    settings = {"corpus": "emodb", "source": corpus, "data_dir": tmp_path}
    finished = run_script(script, **settings, workers=2)
    assert (finished.returncode, finished.stderr) == (0, "")
    folder = only_data_set(tmp_path)
    assert tfds.builder_from_directory(folder).info.splits["train"].num_shards == 3
    assert_same_records(prepared[1], folder)


def test_only_one_utterance_is_held_in_memory(small, tmp_path, monkeypatch):
    computed = []

    def watched(*arguments):
        assert [features for features in computed if features() is not None] == []
        result = record(*arguments)
        computed.append(weakref.ref(result["features"][0]))
        return result

    record = builder.record
    monkeypatch.setattr(builder, "record", watched)
    _, error = run(corpus="emodb", source=small, data_dir=tmp_path / "data", **SHORT)
    assert (error, len(computed)) == ("", 4)


def test_segments_pad_mode_and_emotions_are_chosen_by_flags(corpus, tmp_path):
    settings = {"segment": 8000, "hop": 4000, "pad_mode": "constant"}
    settings |= {"emotions": "neutral,anger"}
    _, error = run(corpus="emodb", source=corpus, data_dir=tmp_path, **settings)
    assert error == ""
    folder = only_data_set(tmp_path)
    assert folder.parent.name == "emodb_mfcc_8000_4000_constant_anger-neutral"
    neutral, anger = read(folder)
    assert (neutral["id"], anger["id"]) == (b"08a01Na", b"09a05Wb")
    wave = audio.read(corpus / "wav" / "09a05Wb.wav").wave
    segments = features.segment(wave, 8000, 4000)
    expected = features.extract("mfcc", segments, "constant")
    np.testing.assert_array_equal(anger["features"], expected)
    assert not neutral["padded"]  # exactly one segment


def test_iemocap_has_a_split_for_each_kind_and_all_its_emotions(tmp_path):
    turns = {
        "Ses01F_impro01_F000": "neu",
        "Ses01F_impro01_M000": "xxx",
        "Ses01F_script01_1_M000": "exc",
        "Ses02M_script01_1_F000": "hap",
    }
    source = write_iemocap(tmp_path / "script", turns)
    data_dir = tmp_path / "data"
    printed, error = run(corpus="iemocap", source=source, data_dir=data_dir, **SHORT)
    assert error == ""
    assert "warning: ang: 0 turns, published 1103" in printed.splitlines()
    folder = only_data_set(data_dir)
    splits = {name: read(folder, name) for name in ("impro", "script")}
    assert set(tfds.builder_from_directory(folder).info.splits) == splits.keys()
    found = {
        record["id"].decode(): (split, record["emotion"].decode())
        for split, records in splits.items()
        for record in records
    }
    assert found == {id_: (id_.split("_")[1][:-2], turns[id_]) for id_ in turns}
    record = splits["script"][0]
    assert record["speaker"] == b"Ses01M"
    assert record["session"] == b"Ses01"
    assert record["dialogue"] == b"Ses01F_script01_1"
    assert record["kind"] == b"script"


def test_ravdess_is_read_with_statement_and_intensity(tmp_path):
    names = ["03-01-01-01-01-01-01", "03-01-06-02-02-01-12"]
    source = write_ravdess(tmp_path / "RAVDESS", *names)
    data_dir = tmp_path / "data"
    printed, error = run(corpus="ravdess", source=source, data_dir=data_dir, **SHORT)
    assert error == ""
    counts = "neutral 1 of 96, calm 0 of 192, happy 0 of 192, sad 0 of 192"
    assert f"warning: counts are not the published ones: {counts}" in printed
    records = read(only_data_set(data_dir))
    fields = ("id", "emotion", "speaker", "text", "intensity")
    assert [[record[field].decode() for field in fields] for record in records] == [
        ["03-01-01-01-01-01-01", "neutral", "01", "01", "normal"],
        ["03-01-06-02-02-01-12", "fearful", "12", "02", "strong"],
    ]


def test_identical_recordings_are_named_listed_and_share_their_content(tmp_path):
    twins = ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    source = write_ravdess(tmp_path / "RAVDESS", *twins, "03-01-03-01-02-01-08")
    samples, _ = soundfile.read(source / "Actor_07" / f"{twins[0]}.wav")
    stereo = np.stack([samples, samples], axis=1)  # other bytes, the same sound
    soundfile.write(source / "Actor_07" / f"{twins[1]}.wav", stereo, 16000)
    data_dir = tmp_path / "data"
    printed, error = run(corpus="ravdess", source=source, data_dir=data_dir, **SHORT)
    assert error == ""
    assert f"  {twins[0]} = {twins[1]}\n" in printed
    folder = only_data_set(data_dir)
    digests = {r["id"].decode(): r["content"].decode() for r in read(folder)}
    assert digests[twins[0]] == digests[twins[1]]
    assert len(set(digests.values())) == 2
    with (folder / "identical.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"content": digests[id_], "id": id_} for id_ in twins]


def test_where_all_recordings_differ_none_is_called_identical(prepared):
    assert "identical recordings" not in prepared[2]
    assert not (prepared[1] / "identical.csv").exists()


def test_identical_recordings_of_an_emotion_not_kept_are_not_named(small, tmp_path):
    wavs = small / "wav"
    shutil.copy(wavs / "03a01Fa.wav", wavs / "03a01Nc.wav")
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT}
    printed, _ = run(corpus="emodb", **settings, emotions="neutral,anger")
    assert "identical recordings" not in printed


def test_of_many_identical_recordings_ten_lines_are_printed_and_all_listed(tmp_path):
    actors = range(1001, 1013)
    names = [f"{actor}_IEO_HAP_{level}" for actor in actors for level in ("HI", "LO")]
    source = write_crema_d(tmp_path / "CREMA-D", *names)
    wavs = source / "AudioWAV"
    for actor in actors:
        shutil.copy(wavs / f"{actor}_IEO_HAP_HI.wav", wavs / f"{actor}_IEO_HAP_LO.wav")
    data_dir = tmp_path / "data"
    printed, _ = run(corpus="crema_d", source=source, data_dir=data_dir, **SHORT)
    lines = [line for line in printed.splitlines() if " = " in line]
    assert lines == [f"  {a}_IEO_HAP_HI = {a}_IEO_HAP_LO" for a in actors[:10]]
    assert f"{lines[-1]}\n  and 2 more\n" in printed
    with (only_data_set(data_dir) / "identical.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == names


def test_the_demo_corpus_is_taken_from_the_data_folder(tmp_path):
    source = tmp_path / "demo_corpus"
    demo.synthesise(source, sessions=1, dialogues_per_session=1)
    _, error = run(corpus="demo", data_dir=tmp_path, **SHORT)
    assert error == ""
    turns = [wav.stem for wav in source.rglob("*.wav")]
    assert ids(only_data_set(tmp_path), "impro") == sorted(turns)


def test_a_tilde_in_the_data_folder_is_the_home_folder(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    _, error = run(corpus="emodb", source=small, data_dir="~/data", **SHORT)
    assert error == ""
    assert len(ids(only_data_set(tmp_path / "home" / "data"))) == 4
    assert not (tmp_path / "~").exists()


def test_neither_tensorflow_nor_beam_is_imported_to_write_and_read(small, tmp_path):
    trap = tmp_path / "trap" / "tensorflow"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text("raise SystemExit('tensorflow was imported')")
    folder = records.DataSet(corpus="emodb", **SHORT).folder(tmp_path / "data")
    script = f"""
sys.path.insert(0, {str(trap.parent)!r})
build.define_flags()
build.FLAGS(sys.argv)
build.main(["build"])
import tensorflow_datasets as tfds
records = tfds.builder_from_directory({str(folder)!r}).as_data_source("train")
print(len(records[0]), "fields")
assert not {{"tensorflow", "apache_beam"}} & sys.modules.keys()
"""
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT, "workers": 1}
    finished = run_script(script, run=commands.run_afresh, corpus="emodb", **settings)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.endswith("12 fields\n")


def test_an_unknown_emotion_is_refused_with_the_known_ones(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", "emotions": "neu,anger"}
    _, error = run(corpus="emodb", **settings, **SHORT)
    known = "['anger', 'happiness', 'neutral', 'sadness']"
    assert error == f"error: --emotions: no ['neu'] in this corpus; it has {known}"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("settings", [{}, {"source": ""}])
def test_a_corpus_without_a_source_is_refused(tmp_path, settings):
    _, error = run(corpus="iemocap", data_dir=tmp_path, **settings)
    assert error == "error: --source is needed: the folder that holds iemocap"


def test_a_missing_source_is_refused(tmp_path):
    _, error = run(corpus="emodb", source=tmp_path / "nowhere", data_dir=tmp_path)
    assert error == f"error: {tmp_path / 'nowhere'} is not a folder"


def test_a_data_folder_that_is_a_file_is_refused_without_a_traceback(small, tmp_path):
    (tmp_path / "data").write_text("mine")
    _, error = run(corpus="emodb", source=small, data_dir=tmp_path / "data", **SHORT)
    assert error.startswith("error: ")
    assert str(tmp_path / "data") in error
    assert (tmp_path / "data").read_text() == "mine"


def test_arguments_without_a_flag_are_refused():
    with pytest.raises(SystemExit, match="not understood: /path/to/corpus"):
        build.main(["build", "/path/to/corpus"])


def test_words_that_leave_the_data_folder_are_refused_at_once(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data", **SHORT}
    _, error = run(corpus="emodb", **settings, emotions="../../x")
    known = "'../../x' cannot be part of a folder's name"
    assert error == f"error: --emotions: {known}"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("flag", ["source", "data_dir"])
def test_a_remote_folder_is_refused_at_once(small, tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    settings = {"source": small, "data_dir": "data"} | {flag: "gs://bucket/data"}
    _, error = run(corpus="emodb", **settings)
    assert error.startswith(f"error: --{flag}=gs://bucket/data: ")
    assert not (tmp_path / "gs:").exists()


def test_the_memory_of_a_long_recording_is_that_of_its_features(tmp_path):
    """As it is stored, this one takes 53 MB."""
    seconds = 150
    with soundfile.SoundFile(tmp_path / "03a01Fa.wav", "w", 44100, 2) as file:
        for second in range(seconds):
            file.write(np.stack([noise(44100, second)] * 2, axis=1))
    config = records.DataSet(corpus="emodb", features="interspeech2018", hop=28800)
    utterance = Utterance("03a01Fa", tmp_path / "03a01Fa.wav", "happiness", "03")
    tracemalloc.start()
    try:
        record = builder.record(utterance, config)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(block.nbytes for block in record["features"])
    assert sum(map(len, record["features"])) == seconds * 16000 // 28800
    assert peak - size < 20e6
