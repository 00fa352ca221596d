"""A corpus of one's own: what its table may look like, and what is said of its faults.

Recordings are small files of EmoDB, and 0.3 s of noise.
"""

import errno
import os
import pathlib
import shutil
import unicodedata

import numpy as np
import pytest
import soundfile
from absl import flags
from absl.testing import flagsaver
from small_corpora import EMODB, contents, noise

from data_prep import audio, build, corpora, preparation, records
from data_prep.corpora import table
from data_prep.text import read_csv

HAPPY, BORED, SAD = "03a01Fa.wav", "09a05Wb.wav", "10b03Tb.wav"
ROWS = f"file,emotion,speaker\nwav/{HAPPY},happy,03\nwav/{BORED},bored,09\n"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with three recordings of EmoDB in wav, and one of them once more."""
    folder = tmp_path_factory.mktemp("recordings")
    shutil.copytree(EMODB, folder, dirs_exist_ok=True)
    shutil.copy(folder / "wav" / HAPPY, folder / "wav" / "copy.wav")
    return folder


def write(recordings, content, name="labels.csv"):
    """Writes a table; returns its path."""
    path = recordings / name
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


def read(path, source=None, **columns):
    return table.read(table.Labels(str(path), columns), source)


def read_rows(recordings, content):
    """(id, emotion, speaker) of each utterance, and what is said against the rows."""
    corpus = read(write(recordings, content))
    told = [(u.id, u.emotion, u.speaker) for u in corpus.utterances]
    return told, {problem.path: problem.reason for problem in corpus.problems}


def prepare(path, data_dir, name="mine", source=None, skip_bad=False, **columns):
    """Prepares a table in short segments; returns the data set's folder."""
    data_set = records.DataSet(name, segment=2000, hop=1000)
    labels = table.Labels(str(path), columns)
    folder, _ = preparation.prepare(data_set, source, data_dir, skip_bad, labels=labels)
    return folder


def fields(folder, data_dir, name="mine"):
    """The fields of the records by id."""
    data_set = records.DataSet(name, segment=2000, hop=1000)
    found, _ = records.read(data_set, data_dir)
    rows = map(records.decoded, found)
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace(",", "|"),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\n\n"),
        ROWS.replace(",", " , "),
        "\ufeff" + ROWS,
        ROWS.encode("utf-16"),
        ROWS.replace("happy", '"happy"').replace("03\n", '"03"\n'),
        ROWS.replace("file,emotion,speaker", "Path,LABEL,Speaker ID"),
        ROWS.replace("file,emotion,speaker", "wav_file,Emotion Label,spk-id"),
        ROWS.replace(".wav", ""),
        ROWS.replace("wav/", "wav\\"),
        ROWS.replace("wav/", "./wav/../wav/"),
        ROWS.rstrip("\n"),
    ],
)
def test_a_table_is_read_as_people_save_it(recordings, content):
    rows = [(f"wav/{HAPPY}", "happy", "03"), (f"wav/{BORED}", "bored", "09")]
    assert read_rows(recordings, content) == (rows, {})


def test_all_columns_reach_the_utterance(recordings):
    path = write(
        recordings,
        "file,emotion,speaker,session,dialogue,text,kind,intensity,split,start,end\n"
        f'wav/{BORED},"pleasant, surprise",a,b,c,"a ""b""",impro,high,Dev,"0,5",1.5\n',
    )
    (utterance,) = read(path).utterances
    assert utterance.path == recordings / "wav" / BORED
    told = [utterance.emotion, utterance.speaker, utterance.session, utterance.dialogue]
    assert told == ["pleasant, surprise", "a", "b", "c"]
    told = [utterance.text, utterance.kind, utterance.intensity, utterance.part]
    assert told == ['a "b"', "impro", "high", "validation"]
    assert (utterance.start, utterance.end) == (0.5, 1.5)
    assert utterance.id == f"wav/{BORED}#0.5-1.5"
    assert utterance.row == "labels.csv, line 2"


def test_quotes_of_a_text_between_tabs_are_a_part_of_it(recordings):
    content = f'file\temotion\ttext\nwav/{SAD}\tsad\t"Oh," he said\n'
    (utterance,) = read(write(recordings, content)).utterances
    assert utterance.text == '"Oh," he said'


def test_a_quotation_over_several_rows_between_tabs_swallows_none(recordings):
    content = (
        f'file\ttext\temotion\nwav/{SAD}\t"Oh no,\tsad\n'
        f"wav/{HAPPY}\the said.\thappy\nwav/{BORED}\tI can't.\"\tbored\n"
    )
    told, _ = read_rows(recordings, content)
    assert [emotion for _, emotion, _ in told] == ["happy", "bored", "sad"]
    # A cell of several lines, as spreadsheets write it, stays one.
    content = f'file\temotion\ttext\nwav/{SAD}\tsad\t"Oh,\nhe said"\n'
    (utterance,) = read(write(recordings, content)).utterances
    assert utterance.text == "Oh,\nhe said"


def test_times_are_told_as_they_were_given(recordings):
    rows = f"file,emotion,start,end\nwav/{SAD},sad,1234.567,1236.2\n"
    (utterance,) = read(write(recordings, rows)).utterances
    assert utterance.id == f"wav/{SAD}#1234.567-1236.2"


def test_accents_of_one_character_and_of_two_are_alike(tmp_path):
    composed, apart = (
        unicodedata.normalize(form, "fröhlich") for form in ("NFC", "NFD")
    )
    soundfile.write(tmp_path / f"{apart}.wav", noise(), 16000)
    soundfile.write(tmp_path / "b.wav", noise(), 16000)
    rows = f"file,emotion\n{composed}.wav,{composed}\nb.wav,{apart}\n"
    corpus = read(write(tmp_path, rows))
    assert len(corpus.utterances) == 2 and not corpus.problems
    assert "differ only in case or blanks" in corpus.warnings[0]


def test_the_guess_is_printed_and_columns_settles_it(recordings, capsys):
    path = write(recordings, f"path,label,mood,age\nwav/{SAD},4,sad,70\n")
    (utterance,) = read(path).utterances
    assert utterance.emotion == "4"
    printed = capsys.readouterr().out
    assert "columns of labels.csv: file is path, emotion is label" in printed
    assert "not used: mood, age" in printed
    assert "--columns=file:path,emotion:label" in printed
    (utterance,) = read(path, emotion="mood").utterances
    assert utterance.emotion == "sad"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,feeling\na,b\n", r"no column that tells the emotion; it has 'file', 'f"),
        ("emotion\nb\n", r"no column that tells the file.*--columns=file:COLUMN"),
        (f"wav/{SAD},sad\n", "the first line names them"),
        ("file,emotion,emotion\na,b,c\n", "2 columns named 'emotion'"),
        ("", "is empty"),
        ("file,emotion\n", "a header and no rows"),
        (ROWS.encode("utf-16-le"), "UTF-16 without its mark"),
        (ROWS.replace("happy", "fr\xf6hlich").encode("latin-1"), "line 2: no text in"),
        (b"PK\x03\x04 a spreadsheet", "save the table as CSV in UTF-8"),
        (ROWS.replace("bored", '"bored'), "row that begins in line 3 is not CSV"),
        (ROWS.replace("wav/", "nowhere/"), r"no file that it names.*--source=FOLDER"),
    ],
)
def test_what_is_no_such_table_is_told_in_a_sentence(recordings, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(write(recordings, content))
    assert "labels.csv" in str(error.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("wav/none.wav,sad,1", "there is no file"),
        (",sad,1", "names no file"),
        (f"wav/{SAD}, ,1", "names no emotion"),
        (f"wav/{SAD},sad", "has 2 cells, and the header 3"),
        (f"wav/{SAD},sad,1,2", "has 4 cells, and the header 3: a cell with"),
        (f"wav/{HAPPY},happy,03", "as labels.csv, line 2 does: delete one"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_by_its_line(recordings, row, reason):
    rows, problems = read_rows(recordings, ROWS + row + "\n")
    assert len(rows) == 2
    assert list(problems) == ["labels.csv, line 4"]
    assert reason in problems["labels.csv, line 4"]


def test_a_cell_of_several_lines_does_not_shift_the_line_numbers(recordings):
    content = f'file,emotion,text\nwav/{SAD},sad,"a\nb"\nwav/none.wav,sad,\n'
    _, problems = read_rows(recordings, content)
    assert list(problems) == ["labels.csv, line 4"]


def test_rows_that_contradict_each_other_are_both_listed(recordings):
    rows, problems = read_rows(recordings, ROWS + f"./wav/{HAPPY},sad,03\n")
    assert [id_ for id_, _, _ in rows] == [f"wav/{BORED}"]
    assert list(problems) == ["labels.csv, line 2", "labels.csv, line 4"]
    assert "another emotion ('happy' / 'sad')" in problems["labels.csv, line 2"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("1.5,1.2,test", "starts at 1.5 s and ends at 1.2 s"),
        ("0:12,,test", "start is '0:12', which is no number of seconds"),
        ("-1,,test", "start is '-1'"),
        ("0,nan,test", "end is 'nan'"),
        ("0,1,fold3", "split is 'fold3', none of train, validation"),
    ],
)
def test_times_and_parts_that_are_none_are_listed(recordings, cells, reason):
    header = "file,emotion,start,end,split\n"
    rows = f"wav/{HAPPY},sad,,,train\nwav/{BORED},sad,{cells}\n"
    _, problems = read_rows(recordings, header + rows)
    assert reason in problems["labels.csv, line 3"]


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["Angry", "angry"], ["'Angry' (1 rows) and 'angry' (1 rows) differ only in"]),
        (["angry ", "angry"], ["'angry ' (1 rows) is taken for 'angry'"]),
        (["very sad", "very  sad"], ["differ only in case or blanks: write one word"]),
        (["angry", "sad"], []),
    ],
)
def test_emotions_that_differ_only_in_case_or_blanks_are_told(
    recordings, words, messages
):
    content = f"file,emotion\nwav/{HAPPY},{words[0]}\nwav/{SAD},{words[1]}\n"
    warnings = read(write(recordings, content)).warnings
    for message in messages:
        assert any(message in warning for warning in warnings)
    assert len([w for w in warnings if w.startswith("emotion")]) == len(messages)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("01", "1"), "speaker '01' (1 rows) and '1' (1 rows) may be the same"),
        (("1.0", "1"), "speaker '1' (1 rows) and '1.0' (1 rows) may be the same"),
        (("Ann", "ann"), "speaker 'Ann' (1 rows) and 'ann' (1 rows) may be the same"),
        (("Zoe\u0308", "Zo\u00eb"), "may be the same"),
        (("nan", "ann"), "speaker 'nan' (1 rows) is taken for a name"),
        (("10", "1"), None),
        (("", "a"), None),
    ],
)
def test_speakers_who_may_be_one_or_none_are_told(recordings, names, message):
    rows = zip((HAPPY, SAD), names, strict=True)
    lines = [f"wav/{name},{number},{who}\n" for number, (name, who) in enumerate(rows)]
    content = "file,emotion,speaker\n" + "".join(lines)
    corpus = read(write(recordings, content))
    assert [u.speaker for u in corpus.utterances] == [*names]  # they stay as they are
    told = [w for w in corpus.warnings if w.startswith("speaker")]
    assert len(told) == (message is not None)
    assert not message or message in told[0]


def test_a_dialogue_in_several_sessions_is_told(recordings):
    content = f"file,emotion,session,dialogue\nwav/{HAPPY},a,S1,1\nwav/{SAD},b,S2,1\n"
    (told, _) = read(write(recordings, content)).warnings
    assert told.startswith("dialogue '1' is in 2 sessions; where some of a dialogue")
    content = content.replace("S2", "S1")
    assert len(read(write(recordings, content)).warnings) == 1  # other sound alone


def test_a_quotation_mark_left_open_between_commas_is_told(recordings, capsys):
    content = (
        f'file,emotion,text\nwav/{HAPPY},a,"he said\nwav/{SAD},b,x\n'
        f'wav/{BORED},c,she"\n'
    )
    assert len(read(write(recordings, content)).utterances) == 1
    assert "line 2: a cell goes on for 2 lines, which look like rows" in (
        capsys.readouterr().out
    )
    read(write(recordings, f'file,emotion,text\nwav/{SAD},b,"Oh, no,\nhe said"\n'))
    assert "look like rows" not in capsys.readouterr().out


def test_a_duration_counts_from_the_start_where_no_end_is_told(recordings):
    rows = f"file,emotion,start,duration\nwav/{BORED},a,0.1,0.2\nwav/{BORED},b,1,0.5\n"
    corpus = read(write(recordings, rows))
    assert [u.id for u in corpus.utterances] == [
        f"wav/{BORED}#0.1-0.3",
        f"wav/{BORED}#1-1.5",
    ]
    # That of a whole file, or beside its end, says nothing.
    rows = f"file,emotion,duration\nwav/{BORED},a,9\n"
    (utterance,) = read(write(recordings, rows)).utterances
    assert utterance.id == f"wav/{BORED}"
    rows = f"file,emotion,start,end,duration\nwav/{BORED},a,1,2,9\n"
    (utterance,) = read(write(recordings, rows)).utterances
    assert utterance.id == f"wav/{BORED}#1-2"


def test_to_predict_a_table_needs_only_what_tells_the_sound(recordings):
    rows = f"file,emotion,split,kind,from\nwav/{BORED},,fold1,non-acted,0.5\n"
    corpus = table.recordings(write(recordings, rows), None)
    assert [u.id for u in corpus.utterances] == [f"wav/{BORED}"]
    corpus = table.recordings(write(recordings, rows), None, {"start": "from"})
    assert [u.id for u in corpus.utterances] == [f"wav/{BORED}#0.5-"]


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    for folder in ("angry", "sad"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        soundfile.write(tmp_path / "mine" / folder / "a.wav", noise(), 16000)
    listed, closed = os.scandir, str(tmp_path / "mine/sad")

    def scandir(path):
        if os.fspath(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"mine/sad cannot be listed \(Permission de"):
        read("folders", tmp_path / "mine")
    soundfile.write(tmp_path / "mine" / "b.wav", noise(), 16000)
    content = "file,emotion\nangry/a.wav,angry\nb.wav,sad\n"
    (told,) = read(write(tmp_path / "mine", content)).warnings
    assert "mine/sad cannot be listed" in told
    complete = corpora.complete(corpora.Corpus([], []), tmp_path / "mine", "there")
    assert closed in [problem.path for problem in complete.problems]


def test_what_else_is_odd_is_a_warning(recordings):
    content = (
        "file,emotion,speaker,split,start,end\n"
        f"wav/{BORED},bored,09,train,0,1\nwav/{BORED},bored,,,0.5,2\n"
    )
    warnings = " ".join(read(write(recordings, content)).warnings)
    assert "1 of 2 rows name no speaker (labels.csv, line 3)" in warnings
    assert "1 of 2 rows name no split" in warnings
    assert "share sound of one file (labels.csv, line 2 and line 3)" in warnings
    assert f"does not name 3 sound files, such as {recordings}" in warnings


def test_folders_may_be_links_and_what_is_no_sound_is_told(tmp_path):
    for folder in ("elsewhere", "mine/sad"):
        (tmp_path / folder).mkdir(parents=True)
        soundfile.write(tmp_path / folder / "a.wav", noise(), 16000)
    (tmp_path / "mine/happy").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/sad/again").symlink_to(tmp_path / "mine")  # a circle
    (tmp_path / "mine/sad/b.webm").write_bytes(b"")
    os.close(os.open(os.fsencode(tmp_path) + b"/mine/sad/\xfc.wav", os.O_CREAT))
    corpus = read("folders", tmp_path / "mine")
    assert [u.id for u in corpus.utterances] == ["happy/a.wav", "sad/a.wav"]
    (problem,) = corpus.problems
    assert "is not UTF-8" in problem.reason
    assert corpus.warnings == (
        "passed over, since they are not named as sound: 1 .webm",
    )


def test_folders_name_the_emotions(recordings, tmp_path):
    for folder, name in [("Angry", HAPPY), ("sad/more", BORED), (".", SAD)]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(recordings / "wav" / name, tmp_path / folder)
    corpus = read("folders", tmp_path)
    assert [(u.id, u.emotion) for u in corpus.utterances] == [
        (f"Angry/{HAPPY}", "Angry"),
        (f"sad/more/{BORED}", "more"),
    ]
    assert [problem.path for problem in corpus.problems] == [str(tmp_path / SAD)]
    with pytest.raises(ValueError, match="has no folders with sound"):
        read("folders", recordings / "wav")
    with pytest.raises(ValueError, match="needs --source"):
        read("folders")


def test_parts_of_a_file_become_records_of_their_own(recordings, tmp_path):
    path = write(
        recordings,
        f"file,emotion,start,end,split\nwav/{BORED},bored,0.5,1.5,train\n"
        f"wav/{BORED},sad,2.0,,test\n",
    )
    before = contents(recordings)
    folder = prepare(path, tmp_path)
    assert contents(recordings) == before, "the corpus has changed"
    found = fields(folder, tmp_path)
    whole = audio.read(recordings / "wav" / BORED).wave
    assert found[f"wav/{BORED}#0.5-1.5"]["num_samples"] == 16000
    assert found[f"wav/{BORED}#2-"]["num_samples"] == len(whole) - 32000
    part = np.concatenate([*audio.stream(recordings / "wav" / BORED, 0.5, 1.5)])
    np.testing.assert_array_equal(part, whole[8000:24000])
    assert records.own_split(folder) == {
        f"wav/{BORED}#0.5-1.5": "train",
        f"wav/{BORED}#2-": "test",
    }


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "aiff", "mp3"])
def test_a_part_is_read_without_the_rest(tmp_path, ending):
    path = tmp_path / f"long.{ending}"
    tone = 0.5 * np.sin(np.arange(16000 * 60) ** 1.2 / 40)
    soundfile.write(path, tone, 16000)
    whole = audio.read(path).wave
    for start in (0.1, 7.03125, 50.77):
        sound = audio.stream(path, start, start + 0.25)
        part = np.concatenate([*sound])
        assert len(part) == sound.num_samples
        first = round(start * 16000)
        np.testing.assert_allclose(part, whole[first : first + 4000], atol=1e-6)


def test_a_part_that_is_not_in_its_file_is_named_with_its_line(
    recordings, tmp_path, capsys
):
    path = write(
        recordings,
        f"file,emotion,start,end\nwav/{BORED},a,100,\nwav/{BORED},b,0,100\n"
        f"wav/{BORED},c,0,1\n",
    )
    with pytest.raises(ValueError, match="nothing was written"):
        prepare(path, tmp_path)
    printed = capsys.readouterr().out
    wav = recordings / "wav" / BORED
    assert f"{wav} (labels.csv, line 2): begins at 100 s, and the file has" in printed
    assert f"{wav} (labels.csv, line 3): ends at 100 s, and the file has" in printed
    folder = prepare(path, tmp_path, skip_bad=True)
    _, rows = read_csv(folder / preparation.LEFT_OUT)
    assert len(rows) == 2
    assert list(fields(folder, tmp_path)) == [f"wav/{BORED}#0-1"]


def test_a_part_may_end_a_rounding_behind_its_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(), 16000)
    assert len(np.concatenate([*audio.stream(tmp_path / "a.wav", 0.1, 0.31)])) == 3200


def test_identical_recordings_of_different_emotions_are_told(
    recordings, tmp_path, capsys
):
    rows = f"file,emotion\nwav/{HAPPY},happy\nwav/copy.wav,sad\n"
    prepare(write(recordings, rows), tmp_path)
    printed = capsys.readouterr().out
    assert f"wav/{HAPPY} (happy) = wav/copy.wav (sad)" in printed
    assert "have different emotions: which is right?" in printed


def test_the_summary_tells_speakers_seconds_and_rates(recordings, tmp_path):
    soundfile.write(recordings / "slow.wav", noise(8000), 8000)
    rows = ROWS + "slow.wav,very very very bored,09\n"
    folder = prepare(write(recordings, rows), tmp_path)
    (recordings / "slow.wav").unlink()
    summary = (folder / preparation.SUMMARY).read_text()
    header, *lines = summary.splitlines()
    assert header.split()[6:] == ["speakers", "shortest", "median", "longest"]
    told = {line[8:29].strip(): line[29:].split()[-4:] for line in lines[:4]}
    assert told["happy"] == ["1", "1.90", "1.90", "1.90"]
    assert told["very very very bored"] == ["1", "1.00", "1.00", "1.00"]
    assert told["all"] == ["2", "1.00", "1.90", "3.40"]
    assert "Stored at 8000 Hz (1), 16000 Hz (2)." in summary


def test_a_second_table_of_one_name_is_refused_with_what_differs(
    recordings, tmp_path, capsys
):
    rows = "file,emotion,split\n" + f"wav/{HAPPY},happy,train\nwav/{SAD},sad,test\n"
    folder = prepare(write(recordings, rows), tmp_path)
    before = contents(folder)
    assert prepare(recordings / "labels.csv", tmp_path) == folder
    for other, difference in [
        (rows.replace("sad", "cross"), rf"another emotion: wav/{SAD}"),
        (rows.replace("test", "dev"), rf"another part of the split: wav/{SAD}"),
        (rows + f"wav/{BORED},sad,train\n", rf"only in the source: wav/{BORED}"),
    ]:
        path = write(recordings, other, "other.csv")
        with pytest.raises(ValueError, match=difference) as error:
            prepare(path, tmp_path)
        assert "give another --name" in str(error.value)
        assert "--corpus=table --name=mine --labels=" in str(error.value)
    assert contents(folder) == before


def test_an_own_split_that_was_changed_is_found(recordings, tmp_path):
    rows = "file,emotion,split\n" + f"wav/{HAPPY},happy,train\nwav/{SAD},sad,test\n"
    folder = prepare(write(recordings, rows), tmp_path)
    path = folder / records.OWN_SPLIT
    path.write_text(path.read_text().replace("test", "train"))
    with pytest.raises(ValueError, match=r"own_split\.csv is not what was prepared"):
        records.own_split(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": "table", "name": "mine"}, "needs --name=NAME and --labels=FILE"),
        ({"corpus": "table", "labels": "a.csv"}, "needs --name=NAME and --labels=FILE"),
        ({"corpus": "emodb", "labels": "a.csv"}, "--labels is for --corpus=table"),
        (
            {"corpus": "table", "name": "emodb", "labels": "a.csv"},
            "--name=emodb: .* none of the names .*emodb",
        ),
        (
            {"corpus": "table", "name": "a+b", "labels": "a.csv"},
            r"--name=a\+b: letters",
        ),
        (
            {"corpus": "table", "name": "a", "labels": "a.csv", "columns": "mood:x"},
            "'mood:x' is not of the form WHAT:COLUMN",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_told(settings, message):
    if "labels" not in flags.FLAGS:  # the tests of the command define them too
        build.define_flags()
    flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.as_parsed(**settings),
        pytest.raises(ValueError, match=message),
    ):
        build.own_labels()


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({}, "main --config=configs/table.py:mine"),
        (
            {"features": "logmel", "hop": "1600", "emotions": "sad,very happy"},
            "main --config=configs/table.py:mine --config.features=logmel "
            "--config.hop=1600 --config.test_hop=1600 "
            "'--config.emotions=('\"'\"'sad'\"'\"', '\"'\"'very happy'\"'\"')'",
        ),
        (
            {"features": "waveform", "data_dir": "my data"},
            "main --config=configs/table.py:mine --config.features=waveform "
            "--config.frontend=mfcc '--config.data_dir=my data'",
        ),
        (
            {"features": "eGeMAPSv02"},
            "floor --config=configs/table.py:mine --features=eGeMAPSv02",
        ),
    ],
)
def test_the_command_that_trains_reads_what_was_prepared(settings, command):
    if "labels" not in flags.FLAGS:
        build.define_flags()
    flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(corpus="table", name="mine", **settings):
        emotions = tuple(flags.FLAGS.emotions)
        data_set = records.DataSet("mine", flags.FLAGS.features, emotions=emotions)
        assert build.how_to_train(data_set) == f"python -m glam_jax.{command}"


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*none\.csv; give the table, or"):
        read(pathlib.Path(tmp_path / "none.csv"))
