"""The synthetic demo corpus: its layout, its labels, its sounds."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from data_prep.corpora import demo

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> pathlib.Path:
    """Two sessions of two dialogues, 64 turns."""
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    demo.synthesise(folder, sessions=2, dialogues_per_session=2)
    return folder


def label_lines(folder: pathlib.Path) -> list[list[str]]:
    """Returns [clock, turn, emotion, attributes] of every turn, by file."""
    files = sorted(folder.glob("Session*/dialog/EmoEvaluation/*.txt"))
    lines = [line for path in files for line in path.read_text().splitlines()]
    return [line.split("\t") for line in lines if line.startswith("[")]


def wav_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the path of every wav file by its turn."""
    return {path.stem: path for path in folder.rglob("*.wav")}


def file_bytes(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of every file by its path inside the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_seed_gives_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in [("first", 3), ("second", 3), ("other", 4)]:
        demo.synthesise(tmp_path / name, seed, sessions=1, dialogues_per_session=1)
    first, second, other = (
        file_bytes(tmp_path / name) for name in ["first", "second", "other"]
    )
    assert first == second
    sounds = [path for path in first if path.endswith(".wav")]
    assert all(first[path] != other.get(path) for path in sounds)


def test_a_dialogue_does_not_depend_on_what_was_made_before(tree, tmp_path):
    demo.synthesise(tmp_path / "small", sessions=1, dialogues_per_session=1)
    assert file_bytes(tmp_path / "small").items() <= file_bytes(tree).items()


def test_files_lie_where_iemocap_has_them(tree):
    files = file_bytes(tree)
    assert len(files) == 4 * (16 + 1)
    assert "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt" in files
    folder = "Session2/sentences/wav/Ses02M_impro01"
    assert f"{folder}/Ses02M_impro01_F000.wav" in files
    assert f"{folder}/Ses02M_impro01_M000.wav" in files


def test_dialogues_are_improvised_and_scripted_with_either_wearer():
    assert [demo.dialogue_name(5, index) for index in range(5)] == [
        "Ses05F_impro01",
        "Ses05M_impro01",
        "Ses05F_script01_1",
        "Ses05M_script01_1",
        "Ses05F_impro02",
    ]


def test_every_label_has_a_wav_file_of_its_duration_and_every_wav_file_a_label(tree):
    wavs = wav_files(tree)
    lines = label_lines(tree)
    assert sorted(turn for _, turn, _, _ in lines) == sorted(wavs)
    for clock, turn, _, _ in lines:
        start, end = map(float, clock.strip("[]").split(" - "))
        info = soundfile.info(wavs[turn])
        assert info.duration == pytest.approx(end - start, abs=1e-3)
        assert 1 <= info.duration <= 6
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert wavs[turn].parent.name == turn.rpartition("_")[0]


def test_the_clock_of_a_dialogue_runs_on_and_its_speakers_take_turns(tree):
    lines = [line for line in label_lines(tree) if line[1].startswith("Ses01F_impro01")]
    times = [float(time) for line in lines for time in line[0].strip("[]").split(" - ")]
    assert times == sorted(times)
    tokens = [line[1].rpartition("_")[2] for line in lines]
    assert tokens != sorted(tokens)
    assert sorted(tokens) == [f"{g}{n:03}" for g in "FM" for n in range(8)]


def test_a_speaker_is_the_same_whoever_wears_the_markers():
    names = ["Ses01F_impro01_M000", "Ses01M_impro01_M000", "Ses01M_script01_1_F007"]
    turns = [demo.Turn(name, "neu", 0, 1) for name in names]
    assert [turn.speaker for turn in turns] == ["Ses01M", "Ses01M", "Ses01F"]


def test_sounds_neither_clip_nor_fall_silent(tree):
    for path in wav_files(tree).values():
        sound, _ = soundfile.read(path)
        assert np.abs(sound).max() < 0.9
        frames = np.abs(sound[: sound.size // 800 * 800]).reshape(-1, 800)
        assert frames.max(axis=1).all()  # 50 ms each; the room is never silent
        assert np.sqrt(np.mean(sound**2)) > 10 ** (-50 / 20)


def test_sounds_have_the_pitch_they_were_asked_for():
    samples = 16_000
    voice = demo.GENDERS["M"]
    pitch = np.full(samples, 12.0)  # an octave above 100 Hz
    source = demo.glottal_source(pitch, voice, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(source))  # bins of 1 Hz
    assert abs(int(spectrum.argmax()) - 200) <= 2


def test_a_formant_filter_peaks_at_the_formants():
    impulse = np.zeros(16_000)
    impulse[8_000] = 1
    formants = np.repeat([[500.0], [1500], [2500], [3500]], impulse.size, axis=1)
    spectrum = np.abs(np.fft.rfft(demo.formant_filter(impulse, formants)))
    for formant in [500, 1500, 2500, 3500]:
        nearby = spectrum[formant - 300 : formant + 300]
        assert abs(int(nearby.argmax()) - 300) < 60


def median_pitch(sound: np.ndarray, rate: int) -> float:
    """Of 64 ms each 16 ms, in Hz: the highest peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::256]
    spectrum = np.fft.rfft(frames * np.hanning(1024), 2048)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    lags = slice(rate // 600, rate // 65)
    return rate / (lags.start + np.median(correlation[:, lags].argmax(axis=1)))


def test_an_angry_turn_is_louder_and_higher_than_a_sad_one_of_the_same_speaker(tree):
    measured = {}
    wavs = wav_files(tree)
    for _, turn, emotion, _ in label_lines(tree):
        if emotion in ("ang", "sad"):
            sound, rate = soundfile.read(wavs[turn])
            row = (np.sqrt(np.mean(sound**2)), median_pitch(sound, rate))
            measured.setdefault((turn[:5] + turn[-4], emotion), []).append(row)
    speakers = {speaker for speaker, _ in measured}
    assert len(speakers) == 4
    for speaker in speakers:
        angry, sad = (
            np.mean(measured[speaker, emotion], axis=0) for emotion in ("ang", "sad")
        )
        assert angry[0] > 2 * sad[0]
        assert angry[1] > 2 ** (2 / 12) * sad[1]  # by two semitones


def test_nothing_is_left_behind_when_interrupted(tmp_path, monkeypatch):
    written = []

    def write_then_interrupt(path, *arguments, **options):
        written.append(path)
        if len(written) == 5:
            raise KeyboardInterrupt
        return write(path, *arguments, **options)

    write = soundfile.write
    monkeypatch.setattr(demo.soundfile, "write", write_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.synthesise(tmp_path / "corpus")
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        demo.synthesise(tmp_path)
    assert file_bytes(tmp_path) == {"notes.txt": b"mine"}


def test_read_synthesises_once_and_gives_what_the_iemocap_reader_finds(
    tmp_path, monkeypatch
):
    calls = []

    def synthesise_small(folder):
        calls.append(folder)
        synthesise(folder, sessions=1, dialogues_per_session=3)

    synthesise = demo.synthesise
    monkeypatch.setattr(demo, "synthesise", synthesise_small)
    corpus = demo.read(tmp_path / "corpus")
    assert demo.read(str(tmp_path / "corpus")) == corpus
    assert calls == [tmp_path / "corpus"]
    assert corpus.problems == []
    found = {utterance.id: utterance for utterance in corpus.utterances}
    assert found.keys() == wav_files(tmp_path / "corpus").keys()
    assert len(found) == 48
    utterance = found["Ses01F_script01_1_M003"]
    assert utterance.kind == "script"
    assert utterance.dialogue == "Ses01F_script01_1"
    labels = label_lines(tmp_path / "corpus")
    assert {turn: emotion for _, turn, emotion, _ in labels} == {
        turn: utterance.emotion for turn, utterance in found.items()
    }


def test_of_two_processes_one_makes_the_corpus_and_the_other_waits(tmp_path):
    """And what a killed one left is removed."""
    leftover = tmp_path / ".corpus.incomplete-1"
    (leftover / "Session1").mkdir(parents=True)
    script = """
import pathlib, sys
from data_prep.corpora import demo
synthesise = demo.synthesise
demo.synthesise = lambda folder: synthesise(folder, 0, 1, 1)
print(len(demo.read(sys.argv[1]).utterances))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "corpus")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(2)
    ]
    printed = [process.communicate()[0].splitlines()[-1] for process in processes]
    assert printed == ["16", "16"]
    assert not leftover.exists()
