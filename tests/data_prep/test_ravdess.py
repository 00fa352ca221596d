"""The reader of RAVDESS: fields from the names, and what is not its speech."""

import pathlib
import shutil

import pytest
from small_corpora import write_ravdess

from data_prep.corpora import ravdess

NAMES = ["03-01-01-01-01-01-01", "03-01-06-02-02-01-12", "03-01-08-01-02-02-24"]


@pytest.fixture
def corpus(tmp_path):
    return write_ravdess(tmp_path / "RAVDESS", *NAMES)


def test_the_name_of_a_recording_tells_its_fields(corpus):
    found = ravdess.read(corpus)
    assert found.problems == []
    fields = [
        (u.id, u.emotion, u.speaker, u.text, u.intensity) for u in found.utterances
    ]
    assert fields == [
        ("03-01-01-01-01-01-01", "neutral", "01", "01", "normal"),
        ("03-01-06-02-02-01-12", "fearful", "12", "02", "strong"),
        ("03-01-08-01-02-02-24", "surprised", "24", "02", "normal"),
    ]
    for utterance in found.utterances:
        actor = f"Actor_{utterance.speaker}"
        assert utterance.path == corpus / actor / f"{utterance.id}.wav"
        assert (utterance.session, utterance.dialogue, utterance.kind) == ("", "", "")


def test_the_eight_emotions_have_the_words_of_the_corpus(tmp_path):
    names = [f"03-01-0{number}-01-01-01-01" for number in range(1, 9)]
    found = ravdess.read(write_ravdess(tmp_path / "RAVDESS", *names))
    assert [u.emotion for u in found.utterances] == [
        "neutral",
        "calm",
        "happy",
        "sad",
        "angry",
        "fearful",
        "disgust",
        "surprised",
    ]


@pytest.mark.parametrize(
    "name", ["audio_speech_actors_01-24", "Audio_Speech_Actors_01-24"]
)
def test_the_folder_of_the_archive_and_the_one_that_holds_it_will_do(tmp_path, name):
    folder = write_ravdess(tmp_path / name, *NAMES)
    # What many copies on the web hold beside it: the same files once more.
    shutil.copytree(folder / "Actor_01", tmp_path / "Actor_01")
    corpus = ravdess.read(tmp_path)
    assert corpus.utterances == ravdess.read(str(folder)).utterances
    assert [u.id for u in corpus.utterances] == NAMES
    assert corpus.problems == []
    assert any(f"{tmp_path / 'Actor_01'}: 1 sound" in w for w in corpus.warnings)


def test_an_actor_whose_folder_is_not_looked_into_is_named(tmp_path):
    write_ravdess(tmp_path, *NAMES)
    (tmp_path / "Actor_01").rename(tmp_path / "actor_01")
    (problem,) = ravdess.read(tmp_path).problems
    assert problem.path == str(tmp_path / "actor_01")
    assert problem.reason.startswith("1 sound files here are not looked for: only ")
    assert "01, 02" in ravdess.read(tmp_path).warnings[-1]


def test_a_half_copied_archive_hides_no_actor(tmp_path):
    write_ravdess(tmp_path, *NAMES)
    archive = tmp_path / "audio_speech_actors_01-24"
    shutil.copytree(tmp_path / "Actor_01", archive / "Actor_01")
    corpus = ravdess.read(tmp_path)
    folders = {f"Actor_{name[-2:]}" for name in NAMES} - {"Actor_01"}
    assert {p.path for p in corpus.problems} == {str(tmp_path / f) for f in folders}


def test_a_recording_with_another_extension_or_place_is_named(tmp_path):
    folder = write_ravdess(tmp_path, *NAMES)
    (folder / "Actor_01" / "03-01-01-01-01-02-01.mp3").write_bytes(b"")
    (folder / "03-01-01-01-01-02-12.wav").write_bytes(b"")
    (folder / "Actor_01" / "notes.txt").write_bytes(b"")
    problems = ravdess.read(tmp_path).problems
    assert [pathlib.Path(problem.path).name for problem in problems] == [
        "03-01-01-01-01-02-12.wav",
        "03-01-01-01-01-02-01.mp3",
    ]
    assert all(p.reason.startswith("is not looked for: only ") for p in problems)


def test_songs_and_videos_beside_the_speech_are_no_problem(tmp_path):
    write_ravdess(tmp_path, *NAMES)
    write_ravdess(tmp_path / "Audio_Song_Actors_01-24", "03-02-01-01-01-01-01")
    assert ravdess.read(tmp_path).problems == []


def test_utterances_are_sorted_by_id_not_by_actor(tmp_path):
    names = ["03-01-08-01-01-01-01", "03-01-02-01-01-01-24", "03-01-02-01-01-01-03"]
    found = ravdess.read(write_ravdess(tmp_path / "RAVDESS", *names))
    assert [u.id for u in found.utterances] == sorted(names)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("03-02-06-01-02-01-12", "song"),
        ("01-02-06-01-02-01-12", "song"),
        ("01-01-06-01-02-01-12", "video"),
        ("02-01-06-01-02-01-12", "video"),
        ("03-01-09-01-02-01-12", "name"),
        ("03-01-06-01-02-01-25", "name"),
        ("03-01-06-01-02-01-00", "name"),
        ("03-01-06-03-02-01-12", "name"),
        ("03-01-06-01-02-12", "name"),
        ("03-01-06-01-02-01-12 (1)", "name"),
    ],
)
def test_a_wav_that_is_no_labelled_speech_is_reported(corpus, name, reason):
    wav = corpus / "Actor_12" / f"{name}.wav"
    shutil.copy(corpus / "Actor_12" / "03-01-06-02-02-01-12.wav", wav)
    found = ravdess.read(corpus)
    assert [u.id for u in found.utterances] == NAMES
    (problem,) = found.problems
    assert problem.path == str(wav)
    assert reason in problem.reason


def test_a_second_wav_of_a_name_is_reported_and_the_first_kept(corpus):
    first = corpus / "Actor_12" / "03-01-06-02-02-01-12.wav"
    copy = corpus / "Actor_12 copy" / first.name
    shutil.copytree(first.parent, copy.parent)
    found = ravdess.read(corpus)
    assert {u.id: u.path for u in found.utterances}[first.stem] == first
    (problem,) = found.problems
    assert problem.path == str(copy)
    assert problem.reason == f"{first.stem} is there twice"


def test_what_macos_leaves_is_ignored(corpus):
    (corpus / "Actor_12" / "._03-01-06-02-02-01-12.wav").write_bytes(b"\0\5\26\7")
    found = ravdess.read(corpus)
    assert [u.id for u in found.utterances] == NAMES
    assert found.problems == []


@pytest.mark.parametrize("below", ["", "Actor_12"])
def test_another_folder_is_refused_with_what_was_expected(corpus, below):
    folder = corpus / below if below else corpus.parent
    with pytest.raises(ValueError, match=r"not look like .*RAVDESS.*Actor_01") as e:
        ravdess.read(folder)
    assert str(folder) in str(e.value)


def test_songs_alone_are_refused(tmp_path):
    folder = write_ravdess(tmp_path / "songs", "03-02-06-01-02-01-12")
    with pytest.raises(ValueError, match="not look like the speech of RAVDESS"):
        ravdess.read(folder)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        ravdess.read(tmp_path / "nowhere")


def test_counts_that_are_not_the_published_ones_are_named_in_one_sentence():
    published = {"neutral": 96} | dict.fromkeys(
        ["calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"], 192
    )
    turns = [("", word, 3.5) for word, count in published.items() for _ in range(count)]
    assert len(turns) == 1440
    assert ravdess.count_differences(iter(turns)) == []
    turns.remove(("", "calm", 3.5))
    assert ravdess.count_differences(turns) == [
        "counts are not the published ones: calm 191 of 192"
    ]
