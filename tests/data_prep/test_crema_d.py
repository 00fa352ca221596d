"""The reader of CREMA-D: fields from the names, and what is not CREMA-D's."""

import pytest
from small_corpora import write_crema_d

from data_prep.corpora import crema_d

NAMES = ["1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1091_IEO_FEA_HI"]


@pytest.fixture
def corpus(tmp_path):
    return write_crema_d(tmp_path / "CREMA-D", *NAMES)


def test_the_name_of_a_recording_tells_its_fields(corpus):
    found = crema_d.read(corpus)
    assert found.problems == []
    fields = [
        (u.id, u.emotion, u.speaker, u.text, u.intensity) for u in found.utterances
    ]
    assert fields == [
        ("1001_DFA_ANG_XX", "ANG", "1001", "DFA", "XX"),
        ("1040_ITH_SAD_X", "SAD", "1040", "ITH", "XX"),  # so named until 2022
        ("1091_IEO_FEA_HI", "FEA", "1091", "IEO", "HI"),
    ]
    for utterance in found.utterances:
        assert utterance.path == corpus / "AudioWAV" / f"{utterance.id}.wav"
        assert (utterance.session, utterance.dialogue, utterance.kind) == ("", "", "")


def test_every_sentence_emotion_and_level_of_the_corpus_is_known(tmp_path):
    sentences = ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI"]
    sentences += ["IWL", "ITH", "DFA", "ITS", "TSI", "WSI"]
    names = [f"1002_{sentence}_NEU_XX" for sentence in sentences]
    emotions = ["ANG", "DIS", "FEA", "HAP", "SAD"]
    names += [f"1003_IEO_{emotion}_MD" for emotion in emotions]
    names += [f"1004_IEO_HAP_{level}" for level in ("LO", "MD", "HI", "XX")]
    found = crema_d.read(write_crema_d(tmp_path / "CREMA-D", *names))
    assert found.problems == []
    assert [
        f"{u.speaker}_{u.text}_{u.emotion}_{u.intensity}" for u in found.utterances
    ] == sorted(names)


def test_the_91_actors_are_1001_to_1091(tmp_path):
    actors = range(1000, 1093)
    names = [f"{actor}_DFA_ANG_XX" for actor in actors]
    found = crema_d.read(write_crema_d(tmp_path / "CREMA-D", *names))
    assert [u.speaker for u in found.utterances] == [str(a) for a in actors[1:-1]]
    assert [problem.path[-19:] for problem in found.problems] == [
        "1000_DFA_ANG_XX.wav",
        "1092_DFA_ANG_XX.wav",
    ]


def test_the_wav_folder_itself_will_do_as_well(corpus):
    assert crema_d.read(corpus / "AudioWAV") == crema_d.read(str(corpus))


@pytest.mark.parametrize(
    "name",
    [
        "1001_DFA_ANG",
        "1001_DFA_ANG_XXX",
        "1001_DFA_BOR_XX",
        "1001_ABC_ANG_XX",
        "1001_DFA_ANG_XX (1)",
    ],
)
def test_a_wav_whose_name_tells_no_label_is_reported(tmp_path, name):
    folder = write_crema_d(tmp_path / "CREMA-D", *NAMES, name)
    found = crema_d.read(folder)
    assert [u.id for u in found.utterances] == NAMES
    (problem,) = found.problems
    assert problem.path == str(folder / "AudioWAV" / f"{name}.wav")
    assert "name" in problem.reason


def test_a_wav_is_a_wav_in_capitals_too_but_counts_once(corpus):
    wav = corpus / "AudioWAV" / "1001_DFA_ANG_XX.wav"
    wav.with_suffix(".WAV").write_bytes(b"RIFF")
    found = crema_d.read(corpus)
    assert [u.id for u in found.utterances] == NAMES
    (problem,) = found.problems
    assert problem.reason == "1001_DFA_ANG_XX is there twice"


def test_what_macos_leaves_is_ignored(corpus):
    (corpus / "AudioWAV" / "._1001_DFA_ANG_XX.wav").write_bytes(b"\0\5\26\7")
    found = crema_d.read(corpus)
    assert [u.id for u in found.utterances] == NAMES
    assert found.problems == []


def test_another_folder_is_refused_with_what_was_expected(corpus):
    with pytest.raises(ValueError, match=r"not look like CREMA-D.*AudioWAV") as e:
        crema_d.read(corpus.parent)
    assert str(corpus.parent) in str(e.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        crema_d.read(tmp_path / "nowhere")


def test_counts_that_are_not_the_published_ones_are_named_in_one_sentence():
    published = dict.fromkeys(["ANG", "DIS", "FEA", "HAP", "SAD"], 1271) | {"NEU": 1087}
    turns = [("", word, 2.5) for word, count in published.items() for _ in range(count)]
    assert len(turns) == 7442
    assert crema_d.count_differences(iter(turns)) == []
    turns.remove(("", "SAD", 2.5))
    assert crema_d.count_differences(turns) == [
        "counts are not the published ones: SAD 1270 of 1271"
    ]
