"""RAVDESS (Livingstone & Russo 2018), its speech: 24 North American actors."""

import functools
import pathlib
import re

from data_prep import corpora

# 03-01-06-02-01-01-12.wav: audio only, speech, fearful, strong, statement 01,
# repetition 01, actor 12.
_NAME = re.compile(
    r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])"
)
_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_INTENSITIES = {"01": "normal", "02": "strong"}
SPEAKERS = tuple(f"{number:02}" for number in range(1, 25))

# Speech recordings of the whole corpus by emotion.
RECORDINGS = {
    "neutral": 96,
    "calm": 192,
    "happy": 192,
    "sad": 192,
    "angry": 192,
    "fearful": 192,
    "disgust": 192,
    "surprised": 192,
}
count_differences = functools.partial(corpora.emotion_count_differences, RECORDINGS)


def read(source: str | pathlib.Path) -> corpora.Corpus:
    """Lists the speech of RAVDESS: `source`/Actor_01 ... Actor_24.

    They may also lie in `source`/Audio_Speech_Actors_01-24, which then alone is read.
    A song in an actor's folder is a problem: it is listed, and is no utterance.

    Raises:
      ValueError: When `source` is not a folder or holds no speech of RAVDESS.
    """
    source = corpora.existing_folder(source)
    archives = sorted(source.glob("[Aa]udio_[Ss]peech_[Aa]ctors_01-24"))
    folder = archives[0] if archives else source
    corpus = corpora.from_names(corpora.wav_files(folder, "Actor_*/*"), _utterance)
    if not corpus.utterances:
        raise ValueError(
            f"{source} does not look like the speech of RAVDESS: {folder} has no files "
            "like Actor_12/03-01-06-01-02-01-12.wav. Give the folder that holds "
            "Actor_01 ... Actor_24 (or Audio_Speech_Actors_01-24)."
        )
    where = f"only {folder}/Actor_*/*.wav"
    others = ("audio_song*", "video_*")
    return corpora.complete(corpus, source, where, others, SPEAKERS)


def _utterance(wav: pathlib.Path) -> corpora.Utterance:
    match = _NAME.fullmatch(wav.stem)
    if not match:
        raise ValueError("the name tells no label (03-01-06-01-02-01-12.wav would)")
    modality, channel, emotion, intensity, statement, actor = match.groups()
    if channel == "02":
        raise ValueError("is a song, not speech (the name begins 03-01 for speech)")
    if modality != "03":
        raise ValueError("comes from a video (the name begins 03-01 for sound alone)")
    return corpora.Utterance(
        id=wav.stem,
        path=wav,
        emotion=_EMOTIONS[emotion],
        speaker=actor,
        text=statement,
        intensity=_INTENSITIES[intensity],
    )
