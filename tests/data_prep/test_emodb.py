"""The reader of EmoDB: fields from the names, and what is not EmoDB's."""

import pytest
from small_corpora import EMODB, write_emodb

from data_prep.corpora import emodb


def test_the_name_of_a_recording_tells_its_fields():
    corpus = emodb.read(EMODB)
    assert corpus.problems == []
    assert [(u.id, u.emotion, u.speaker, u.text) for u in corpus.utterances] == [
        ("03a01Fa", "happiness", "03", "a01"),
        ("09a05Wb", "anger", "09", "a05"),
        ("10b03Tb", "sadness", "10", "b03"),
    ]
    for utterance in corpus.utterances:
        assert utterance.path == EMODB / "wav" / f"{utterance.id}.wav"
        assert (utterance.session, utterance.dialogue, utterance.kind) == ("", "", "")
        assert utterance.intensity == ""


def test_the_seven_emotions_have_the_words_of_the_corpus(tmp_path):
    names = [f"16b10{letter}a" for letter in "WLEAFTN"]
    corpus = emodb.read(write_emodb(tmp_path / "emodb", *names))
    assert {u.id[5]: u.emotion for u in corpus.utterances} == {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    }


def test_the_wav_folder_itself_will_do_as_well():
    assert emodb.read(EMODB / "wav") == emodb.read(str(EMODB))


def test_utterances_are_sorted_by_id(tmp_path):
    names = ["16a01Wa", "03b10Na", "03a02Fc", "09a01Tb"]
    corpus = emodb.read(write_emodb(tmp_path / "emodb", *names))
    assert [u.id for u in corpus.utterances] == sorted(names)


@pytest.mark.parametrize("name", ["Kopie von 03a01Fa", "03a01Xa", "3a01Fa", "03a01Fab"])
def test_a_wav_whose_name_tells_no_label_is_reported(tmp_path, name):
    folder = write_emodb(tmp_path / "emodb", "03a01Fa", name)
    corpus = emodb.read(folder)
    assert [u.id for u in corpus.utterances] == ["03a01Fa"]
    (problem,) = corpus.problems
    assert problem.path == str(folder / "wav" / f"{name}.wav")
    assert "name" in problem.reason


def test_a_wav_is_a_wav_in_capitals_too_but_counts_once(tmp_path):
    folder = write_emodb(tmp_path / "emodb", "03a01Fa", "09a05Wb", "10b03Tb")
    for name in ("03a01Fa", "09a05Wb"):
        wav = folder / "wav" / f"{name}.wav"
        wav.rename(wav.with_suffix(".WAV"))
    (folder / "wav" / "09a05Wb.wav").write_bytes(b"RIFF")
    corpus = emodb.read(folder)
    assert [u.id for u in corpus.utterances] == ["03a01Fa", "09a05Wb", "10b03Tb"]
    (problem,) = corpus.problems
    assert "09a05Wb is there twice" in problem.reason


def test_other_files_and_what_macos_leaves_are_ignored(tmp_path):
    folder = write_emodb(tmp_path / "emodb", "03a01Fa")
    (folder / "wav" / "._03a01Fa.wav").write_bytes(b"\0\5\26\7")
    (folder / "wav" / "03a01Fa.lablaut").write_text("labels")
    corpus = emodb.read(folder)
    assert [u.id for u in corpus.utterances] == ["03a01Fa"]
    assert corpus.problems == []


def test_another_folder_is_refused_with_what_was_expected(tmp_path):
    (tmp_path / "music.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"not look like EmoDB.*03a01Fa\.wav") as e:
        emodb.read(tmp_path)
    assert str(tmp_path) in str(e.value)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_not_a_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{name} is not a folder"):
        emodb.read(tmp_path / name)


def test_counts_that_are_not_the_published_ones_are_named_in_one_sentence():
    published = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69}
    published |= {"happiness": 71, "neutral": 79, "sadness": 62}
    turns = [("", word, 2.0) for word, count in published.items() for _ in range(count)]
    assert len(turns) == 535
    assert emodb.count_differences(iter(turns)) == []
    turns.remove(("", "fear", 2.0))
    turns.append(("", "anger", 2.0))
    assert emodb.count_differences(turns) == [
        "counts are not the published ones: anger 128 of 127, fear 68 of 69"
    ]
