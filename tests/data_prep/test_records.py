"""Prepared data sets: where they come from, what is damaged, how much is open."""

import hashlib
import json
import os
import pathlib
import pickle
import random
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from commands import Command
from small_corpora import noise, write_emodb
from tensorflow_datasets.proto import tf_example_pb2

from data_prep import builder, corpora, preparation, records

DATA_SET = records.DataSet(corpus="emodb", segment=2000, hop=1000)
NAMES = ["03a01Fa", "03a01Nc", "09a05Wb", "10b03Tb", "10b03Wb"]


def prepare(source, data_dir) -> pathlib.Path:
    folder, _ = preparation.prepare(DATA_SET, str(source), pathlib.Path(data_dir))
    return folder


def everything(data_dir) -> list:
    """All that can be read of a data set."""
    found, shape = records.read(DATA_SET, data_dir)
    features = [r.source[r.place]["features"].tobytes() for r in found]
    return [shape, [records.decoded(record) for record in found], features]


def checksums(folder) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_emodb(tmp_path_factory.mktemp("corpus") / "emodb", *NAMES)


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    """The data folder of that corpus, in two record files; not to be changed."""
    data_dir = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "_UTTERANCES_IN_FILE", 3)
        prepare(source, data_dir)
    return data_dir


@pytest.fixture
def data_dir(prepared, tmp_path):
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "data")


def test_equal_builds_give_equal_bytes(source, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_UTTERANCES_IN_FILE", 3)
    again = prepare(source, tmp_path)
    assert checksums(again) == checksums(DATA_SET.folder(prepared))


def test_a_record_is_the_example_that_tfds_would_write(source):
    (utterance, *_) = corpora.emodb.read(source).utterances
    record = builder.record(utterance, DATA_SET)
    stored = records.serialise(record)
    schema = records.schema(DATA_SET.feature_shape())
    features = np.concatenate(record.pop("features"))
    example = schema.deserialize_example_np(stored)
    np.testing.assert_array_equal(example.pop("features"), features)
    assert records.decoded(records.Record(example, [], 0, 1)) == record
    theirs, ours = tf_example_pb2.Example(), tf_example_pb2.Example()
    theirs.ParseFromString(schema.serialize_example(record | {"features": features}))
    ours.ParseFromString(stored)
    assert ours == theirs


def test_the_provenance_tells_source_counts_and_a_digest(prepared):
    told = records.provenance(DATA_SET.folder(prepared))
    assert told["source"] == "emodb"
    assert told["splits"]["train"]["utterances"] == 5
    assert told["splits"]["train"]["segments"] == 5 * 3
    assert told["data_set"]["hop"] == 1000
    assert len(told["digest"]) == len(told["splits"]["train"]["digest"]) == 64


def test_the_digest_changes_with_labels_contents_and_cuts(source):
    usable = [preparation.check(u) for u in corpora.emodb.read(source).utterances]

    def digest(usable=usable, data_set=DATA_SET, shape=(26, 4)):
        rows = preparation.fields_by_split(usable, data_set.segment)
        return records.describe(data_set, shape, rows, "")["digest"]

    (first, *others) = usable
    relabelled = preparation.dataclasses.replace(first.utterance, emotion="anger")
    replace = preparation.dataclasses.replace
    digests = [
        digest(),
        digest(usable=others),
        digest(usable=[replace(first, content="0" * 16), *others]),
        digest(usable=[replace(first, utterance=relabelled), *others]),
        digest(data_set=replace(DATA_SET, hop=500)),
        digest(shape=(26, 5)),
    ]
    assert len(set(digests)) == len(digests)


def flip(path, chance):
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path, chance):
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def double(path, chance):
    path.write_bytes(path.read_bytes() * 2)


def delete(path, chance):
    path.unlink()


def swap(path, chance):
    other = chance.choice([*path.parent.iterdir()])
    shutil.copy(other, path.with_name("other"))
    os.replace(path.with_name("other"), path)


@pytest.mark.parametrize("damage", [flip, cut, double, delete, swap])
def test_a_damaged_file_is_named_or_changes_nothing(prepared, data_dir, damage):
    """Nothing is ever read as something else, and the message says what to do."""
    expected = everything(prepared)
    folder, chance = DATA_SET.folder(data_dir), random.Random(damage.__name__)
    named = 0
    for path in [*sorted(DATA_SET.folder(prepared).iterdir())] * 2:
        damage(folder / path.name, chance)
        try:
            assert DATA_SET.is_prepared(data_dir) != (
                damage is delete and path.name == "dataset_info.json"
            )
            assert everything(data_dir) == expected
        except ValueError as error:
            named += 1
            assert str(folder) in str(error)
            assert f"delete {folder} and prepare it again with: python" in str(error)
        shutil.copy(path, folder / path.name)
    assert named >= 2


def test_a_damaged_record_file_is_named_when_features_are_read(data_dir):
    found, _ = records.read(DATA_SET, data_dir)
    (path, *_) = sorted(DATA_SET.folder(data_dir).glob("*.array_record-00000-*"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"00000-of-00002 is damaged .*prepare it"):
        [record.source[record.place] for record in found]


def test_fewer_records_than_were_prepared_are_noticed(data_dir):
    info = DATA_SET.folder(data_dir) / "dataset_info.json"
    info.write_text(info.read_text().replace('"2"', '"1"'))
    with pytest.raises(ValueError, match=r"delete .* and prepare it again"):
        records.read(DATA_SET, data_dir)


def test_a_damaged_summary_is_named(data_dir):
    folder = DATA_SET.folder(data_dir)
    assert preparation.damaged_notes(folder) == []
    summary = folder / preparation.SUMMARY
    summary.write_text(summary.read_text().replace("5", "6"))
    assert preparation.damaged_notes(folder) == [summary]


def test_a_record_file_of_another_data_set_is_noticed(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_UTTERANCES_IN_FILE", 3)
    other = write_emodb(tmp_path / "other", *reversed(NAMES))  # other sound
    shards = sorted(prepare(other, tmp_path / "b").glob("*.array_record*"))
    shutil.copy(shards[0], DATA_SET.folder(data_dir))
    with pytest.raises(ValueError, match=r"does not hold the utterances .* prepared"):
        records.read(DATA_SET, data_dir)


def test_a_source_can_be_sent_to_another_process(prepared):
    found, _ = records.read(DATA_SET, prepared)
    source = pickle.loads(pickle.dumps(found[4].source))
    np.testing.assert_array_equal(source[4]["features"], found[4].source[4]["features"])


def test_the_records_are_those_that_tfds_reads(prepared):
    found, _ = records.read(DATA_SET, prepared)
    folder = DATA_SET.folder(prepared)
    by_tfds = tfds.builder_from_directory(folder).as_data_source("train")
    for record, expected in zip(found, by_tfds, strict=True):
        own = record.source[record.place]
        np.testing.assert_array_equal(own["features"], expected["features"])
        assert own["id"] == expected["id"]


def test_few_record_files_are_open_at_a_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "_UTTERANCES_IN_FILE", 1)
    (one, *_) = [preparation.check(u) for u in corpora.emodb.read(source).utterances]
    replace = preparation.dataclasses.replace
    usable = [
        replace(one, utterance=replace(one.utterance, id=f"{index:03}"))
        for index in range(300)
    ]
    preparation.write(DATA_SET, tmp_path, usable, source)
    before = len(os.listdir("/dev/fd"))
    found, _ = records.read(DATA_SET, tmp_path)
    for record in found:
        record.source[record.place]
    assert len({record.source._files[0] for record in found}) == 1
    assert len(found[0].source._files) == 300
    assert len(os.listdir("/dev/fd")) - before < 50


def test_another_source_is_refused_with_what_differs(source, data_dir, tmp_path):
    other = shutil.copytree(source, tmp_path / "other")
    assert prepare(other, data_dir) == DATA_SET.folder(data_dir)  # the same sound
    (other / "wav" / "03a01Fa.wav").unlink()
    (other / "wav" / "03a01Nc.wav").write_bytes(
        (other / "wav" / "09a05Wb.wav").read_bytes()
    )
    (other / "wav" / "10b03Tb.wav").rename(other / "wav" / "10b03Ta.wav")
    before = checksums(DATA_SET.folder(data_dir))
    with pytest.raises(ValueError) as raised:
        prepare(other, data_dir)
    lines = str(raised.value).splitlines()
    folder = DATA_SET.folder(data_dir)
    assert lines[0] == (
        f"{folder} was prepared from another source (emodb) than {other}:"
    )
    assert lines[1:4] == [
        "  only in the prepared data set: 03a01Fa, 10b03Tb",
        "  only in the source: 10b03Ta",
        "  another sound: 03a01Nc",
    ]
    assert "another --data_dir, or delete" in lines[-1]
    assert checksums(DATA_SET.folder(data_dir)) == before


@pytest.mark.parametrize("missing", [None, "nowhere"])
def test_a_missing_source_is_an_error_even_if_the_data_set_is_there(data_dir, missing):
    with pytest.raises(ValueError, match=r"source is needed|is not a folder"):
        preparation.prepare(DATA_SET, missing, data_dir)


def test_a_folder_that_is_not_whole_is_not_prepared_and_is_prepared_anew(
    source, data_dir, capsys
):
    folder = DATA_SET.folder(data_dir)
    (folder / "dataset_info.json").unlink()
    assert not DATA_SET.is_prepared(data_dir)
    assert preparation.prepare(DATA_SET, source, data_dir) == (folder, False)
    assert "is not whole (no dataset_info.json)" in capsys.readouterr().out
    assert len(everything(data_dir)[1]) == 5


def test_what_a_killed_build_left_is_removed(source, tmp_path, capsys):
    folder = DATA_SET.folder(tmp_path)
    leftover = folder.parent / f"incomplete.ABCDEF_{folder.name}"
    leftover.mkdir(parents=True)
    (leftover / "speech_emotion-train.array_record-00000-of-00001").touch()
    prepare(source, tmp_path)
    assert not leftover.exists()
    assert f"removing {leftover}" in capsys.readouterr().out


def test_of_two_builds_at_once_one_waits_and_both_succeed(source, tmp_path):
    arguments = ["--corpus=emodb", f"--source={source}", f"--data_dir={tmp_path}"]
    arguments += ["--workers=1", "--segment=2000", "--hop=1000"]
    builds = [Command("data_prep.build", *arguments) for _ in range(2)]
    ended = [build.finish() for build in builds]
    assert [build.returncode for build in ended] == [0, 0]
    printed = sorted(build.stdout.splitlines()[-1] for build in ended)
    folder = DATA_SET.folder(tmp_path)
    assert sum("was prepared before" in line for line in printed) == 1
    assert len(everything(tmp_path)[1]) == 5
    assert [path.name for path in folder.parent.iterdir() if path != folder] == [
        ".lock"
    ]


@pytest.mark.parametrize("word", ["../../x", "a/b", "a\\b", "a\nb", "\x1b[31m"])
def test_a_word_that_cannot_be_part_of_a_path_is_refused(word):
    with pytest.raises(ValueError, match=r"--emotions: .* part of a folder's name"):
        records.DataSet(corpus="emodb", emotions=(word,))
    with pytest.raises(ValueError, match=r"--corpus: .* part of a folder's name"):
        records.DataSet(corpus=word)


def test_any_text_in_a_field_survives(source, tmp_path):
    (one, *_) = [preparation.check(u) for u in corpora.emodb.read(source).utterances]
    replace = preparation.dataclasses.replace
    strange = 'a,"b"\n=c\x1b[31m\u202e ü'
    utterance = replace(one.utterance, id=strange, emotion=strange, speaker=strange)
    preparation.write(DATA_SET, tmp_path, [replace(one, utterance=utterance)], source)
    (record,), _ = records.read(DATA_SET, tmp_path)
    found = records.decoded(record)
    assert [found[name] for name in ("id", "emotion", "speaker")] == [strange] * 3
    folder = DATA_SET.folder(tmp_path)
    assert json.loads((folder / records.PROVENANCE).read_text())["source"] == "emodb"


def test_features_that_are_not_finite_stop_a_build_and_name_the_file(
    source, tmp_path, monkeypatch
):
    kinds = {"mfcc": lambda wave, pad_mode: np.full((26, 4), np.nan)}
    monkeypatch.setattr(builder.features, "_CENTRED", kinds)
    with pytest.raises(ValueError, match=r"03a01Fa\.wav: features 'mfcc' gave .*NaN"):
        builder.record(corpora.emodb.read(source).utterances[0], DATA_SET)


def test_a_suspicious_recording_is_warned_of_by_name(tmp_path, capsys):
    source = write_emodb(tmp_path / "emodb", *NAMES)
    path = source / "wav" / "03a01Fa.wav"
    preparation.audio.soundfile.write(path, noise() * 3e4, 16000, subtype="FLOAT")
    folder = prepare(source, tmp_path / "data")
    assert f"  warning: {path} peaks at 2998" in capsys.readouterr().out
    header, rows = preparation.text.read_csv(folder / preparation.WARNINGS)
    assert header == ["path", "warning"]
    assert [row[0] for row in rows] == [str(path)]
