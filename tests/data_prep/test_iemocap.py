"""The reader of IEMOCAP on hand-made trees with the corpus's traps, and its counts."""

import shutil

import pytest
from small_corpora import add_label, labels_of, wav_of, write_iemocap

from data_prep.corpora import iemocap

TURNS = {
    "Ses01F_impro01_F000": "neu",
    "Ses01F_impro01_M000": "exc",  # the man, while the woman wears the markers
    "Ses01M_script01_1b_F003": "sad",
    "Ses02M_impro05a_M012": "xxx",
    "Ses02F_script03_2_FXX1": "ang",
}


@pytest.fixture(params=["IEMOCAP_full_release", "script_data", "impro"])
def tree(request, tmp_path):
    """A corpus in a folder whose name must not matter."""
    return write_iemocap(tmp_path / request.param, TURNS)


@pytest.fixture
def corpus(tmp_path):
    return write_iemocap(tmp_path / "IEMOCAP", TURNS)


def labels(folder) -> dict[str, str]:
    """Emotions by id, as read, from a corpus without problems."""
    found = iemocap.read(folder)
    assert found.problems == []
    return {utterance.id: utterance.emotion for utterance in found.utterances}


def test_every_turn_has_the_label_of_its_summary_line(tree):
    assert labels(tree) == TURNS
    for utterance in iemocap.read(tree).utterances:
        assert utterance.path == wav_of(tree, utterance.id)
        assert (utterance.text, utterance.intensity) == ("", "")


def test_the_speaker_is_who_speaks_not_who_wears_the_markers(tree):
    speakers = {u.id: u.speaker for u in iemocap.read(tree).utterances}
    assert speakers == {
        "Ses01F_impro01_F000": "Ses01F",
        "Ses01F_impro01_M000": "Ses01M",
        "Ses01M_script01_1b_F003": "Ses01F",
        "Ses02M_impro05a_M012": "Ses02M",
        "Ses02F_script03_2_FXX1": "Ses02F",
    }


def test_session_dialogue_and_kind_come_from_the_id(tree):
    found = {
        u.id: (u.session, u.dialogue, u.kind) for u in iemocap.read(tree).utterances
    }
    assert found == {
        "Ses01F_impro01_F000": ("Ses01", "Ses01F_impro01", "impro"),
        "Ses01F_impro01_M000": ("Ses01", "Ses01F_impro01", "impro"),
        "Ses01M_script01_1b_F003": ("Ses01", "Ses01M_script01_1b", "script"),
        "Ses02M_impro05a_M012": ("Ses02", "Ses02M_impro05a", "impro"),
        "Ses02F_script03_2_FXX1": ("Ses02", "Ses02F_script03_2", "script"),
    }


def test_what_macos_leaves_is_ignored(corpus):
    for turn in TURNS:
        for path in (labels_of(corpus, turn), wav_of(corpus, turn)):
            shutil.copy(path, path.with_name(f"._{path.name}"))
    assert labels(corpus) == TURNS


@pytest.mark.parametrize("evaluation", ["Self-evaluation", "Categorical", "Attribute"])
def test_evaluations_in_sub_folders_are_ignored(corpus, evaluation):
    file = labels_of(corpus, "Ses01F_impro01_F000")
    (file.parent / evaluation).mkdir()
    other = file.read_text().replace("neu", "fru")
    (file.parent / evaluation / "Ses01F_impro01_e1.txt").write_text(other)
    assert labels(corpus) == TURNS


def test_line_ends_of_windows_and_other_encodings_change_nothing(corpus):
    file = labels_of(corpus, "Ses01F_impro01_F000")
    text = file.read_text() + "C-E2:\tOther;\t(gef\xfchlvoll)\n"
    file.write_bytes(text.replace("\n", "\r\n").encode("latin1"))
    assert labels(corpus) == TURNS


def test_utterances_do_not_depend_on_the_order_on_the_disk(tmp_path):
    orders = list(TURNS.items()), list(reversed(TURNS.items()))
    folders = [
        write_iemocap(tmp_path / str(index), dict(order))
        for index, order in enumerate(orders)
    ]
    ids = [[u.id for u in iemocap.read(folder).utterances] for folder in folders]
    assert ids[0] == ids[1] == sorted(TURNS)


def test_a_label_without_a_wav_is_reported(corpus):
    turn = "Ses01F_impro01_M000"
    wav_of(corpus, turn).unlink()
    found = iemocap.read(corpus)
    assert [u.id for u in found.utterances] == sorted(TURNS.keys() - {turn})
    (problem,) = found.problems
    assert problem.path == str(labels_of(corpus, turn))
    assert problem.reason == f"{turn} has a label but no wav"


def test_a_wav_without_a_label_is_reported(corpus):
    wav = wav_of(corpus, "Ses02M_impro05a_F000")
    shutil.copy(wav_of(corpus, "Ses02M_impro05a_M012"), wav)
    found = iemocap.read(corpus)
    assert [u.id for u in found.utterances] == sorted(TURNS)
    (problem,) = found.problems
    assert problem.path == str(wav)
    assert problem.reason == "has no label in dialog/EmoEvaluation"


def test_a_second_label_is_reported_and_the_first_kept(corpus):
    turn = "Ses01F_impro01_F000"
    add_label(corpus, turn, "ang")
    found = iemocap.read(corpus)
    assert {u.id: u.emotion for u in found.utterances} == TURNS
    (problem,) = found.problems
    assert problem.path == str(labels_of(corpus, turn))
    assert problem.reason == f"{turn} is labelled twice"


def test_a_second_wav_of_a_turn_is_reported_and_the_first_kept(corpus):
    first = wav_of(corpus, "Ses01M_script01_1b_F003")
    copy = first.parent.with_name("Ses01M_script01_1b copy") / first.name
    shutil.copytree(first.parent, copy.parent)
    found = iemocap.read(corpus)
    assert {u.id: u.path for u in found.utterances}[first.stem] == first
    (problem,) = found.problems
    assert problem.path == str(copy)
    assert problem.reason == f"{first.stem} is there twice"


@pytest.mark.parametrize("turn", ["Ses01F_talk01_F000", "Ses01F_impro01_X000"])
def test_a_label_of_something_else_than_a_turn_is_reported(corpus, turn):
    add_label(corpus, turn, "neu")
    found = iemocap.read(corpus)
    assert [u.id for u in found.utterances] == sorted(TURNS)
    (problem,) = found.problems
    assert problem.path == str(labels_of(corpus, turn))
    assert turn in problem.reason


@pytest.mark.parametrize("below", ["", "Session1", "Session1/dialog"])
def test_another_folder_is_refused_with_what_was_expected(corpus, below):
    folder = corpus / below if below else corpus.parent
    with pytest.raises(ValueError, match=r"not look like IEMOCAP.*Session1") as e:
        iemocap.read(folder)
    assert str(folder) in str(e.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        iemocap.read(tmp_path / "nowhere")


@pytest.mark.parametrize("nested", [False, True])
def test_a_session_that_is_not_looked_into_is_named(tmp_path, nested):
    turns = {"Ses01F_impro01_F000": "neu", "Ses02F_impro01_F000": "sad"}
    folder = write_iemocap(tmp_path / "IEMOCAP", turns)
    moved = (folder / "Session2").rename(folder / "session2")
    if nested:
        (folder / "Session2").mkdir()
        moved = moved.rename(folder / "Session2" / "Session2")
    corpus = iemocap.read(folder)
    session = folder / ("Session2" if nested else "session2")
    assert {problem.path for problem in corpus.problems} == {str(session)}
    reasons = " ".join(problem.reason for problem in corpus.problems)
    assert "1 sound files here are not looked for" in reasons
    assert ("has no dialog/EmoEvaluation/*.txt" in reasons) == nested
    assert "Ses02F" in corpus.warnings[-1]


def test_a_label_line_that_is_not_understood_is_named(tmp_path):
    folder = write_iemocap(tmp_path / "IEMOCAP", {"Ses01F_impro01_F000": "neu"})
    file = labels_of(folder, "Ses01F_impro01_F000")
    line = "[1.0 - 2.0]  Ses01F_impro01_F001  sad  [2.5, 2.5, 2.5]"
    file.write_text(file.read_text() + line + "\n")
    (problem,) = iemocap.read(folder).problems
    assert problem.path == str(file)
    assert problem.reason == f"line 7 is not understood: {line!r}"


def test_the_sound_of_whole_dialogues_is_no_problem(tmp_path):
    folder = write_iemocap(tmp_path / "IEMOCAP", {"Ses01F_impro01_F000": "neu"})
    wav = folder / "Session1" / "dialog" / "wav" / "Ses01F_impro01.wav"
    wav.parent.mkdir()
    wav.write_bytes(b"")
    assert iemocap.read(folder).problems == []


@pytest.mark.parametrize("end", ["F000_", "F000_x", "_000"])
def test_a_turn_whose_name_does_not_parse_is_named(tmp_path, end):
    folder = write_iemocap(tmp_path / "IEMOCAP", {"Ses01F_impro01_M000": "neu"})
    turn = f"Ses01F_impro01_{end}"
    add_label(folder, turn, "sad")
    reasons = [problem.reason for problem in iemocap.read(folder).problems]
    assert f"{turn} is not a turn's name" in reasons


def published() -> list[tuple[str, str, float]]:
    """(kind, emotion, seconds) of a corpus that has exactly the published counts."""
    # Of any length, of at least 1.8 s, of at least 2.0 s (Zhu & Li 2022).
    lengths = {
        ("impro", "neu"): (1099, 883, 834),
        ("impro", "sad"): (608, 557, 535),
        ("impro", "ang"): (289, 266, 257),
        ("impro", "exc"): (663, 530, 492),
        ("script", "neu"): (609, 534, 486),
        ("script", "sad"): (476, 447, 432),
        ("script", "ang"): (814, 730, 691),
        ("script", "exc"): (378, 364, 357),
    }
    others = {"hap": 595, "fru": 1849, "sur": 107, "fea": 40, "dis": 2, "oth": 3}
    others["xxx"] = 2507
    turns = []
    for turn, (every, medium, long) in lengths.items():
        turns += (every - medium) * [(*turn, 1.79)]
        turns += (medium - long) * [(*turn, 1.8)] + long * [(*turn, 2.0)]
    for emotion, count in others.items():
        turns += count * [("impro", emotion, 3.0)]
    assert len(turns) == 10039
    return turns


def test_the_published_counts_show_no_difference():
    assert iemocap.count_differences(iter(published())) == []


def test_a_missing_turn_is_named_with_both_numbers():
    turns = published()
    turns.remove(("impro", "ang", 1.79))
    assert iemocap.count_differences(turns) == [
        "ang: 1102 turns, published 1103",
        "impro ang of at least 0.0 s: 288 turns, published 289",
    ]


def test_a_turn_that_is_cut_shorter_is_named_with_both_numbers():
    turns = published()
    turns[turns.index(("script", "exc", 2.0))] = ("script", "exc", 1.99)
    assert iemocap.count_differences(turns) == [
        "script exc of at least 2.0 s: 356 turns, published 357"
    ]


def test_a_turn_too_many_is_named_with_both_numbers():
    turns = [*published(), ("script", "hap", 1.0)]
    assert iemocap.count_differences(turns) == ["hap: 596 turns, published 595"]
