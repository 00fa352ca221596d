"""EmoDB (Burkhardt et al. 2005): ten German actors, ten sentences, seven emotions."""

import functools
import pathlib
import re

from data_prep import corpora

# 03a01Fa.wav: speaker 03, sentence a01, F as in Freude, version a.
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")
_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")

# Recordings of the whole corpus by emotion.
RECORDINGS = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "neutral": 79,
    "sadness": 62,
}
count_differences = functools.partial(corpora.emotion_count_differences, RECORDINGS)


def read(source: str | pathlib.Path) -> corpora.Corpus:
    """Lists the recordings of EmoDB: the wavs of `source`/wav, or of `source` itself.

    Raises:
      ValueError: When `source` is not a folder or holds no file named like EmoDB's.
    """
    source = corpora.existing_folder(source)
    folder = source / "wav" if (source / "wav").is_dir() else source
    corpus = corpora.from_names(corpora.wav_files(folder, "*"), _utterance)
    if not corpus.utterances:
        raise ValueError(
            f"{source} does not look like EmoDB: {folder} has no files like "
            "03a01Fa.wav. Give the folder that holds EmoDB's wav folder."
        )
    return corpora.complete(corpus, source, f"only {folder}/*.wav", speakers=SPEAKERS)


def _utterance(wav: pathlib.Path) -> corpora.Utterance:
    match = _NAME.fullmatch(wav.stem)
    if not match:
        raise ValueError("the name tells no label (03a01Fa.wav would)")
    speaker, text, emotion, _ = match.groups()
    return corpora.Utterance(
        id=wav.stem,
        path=wav,
        emotion=_EMOTIONS[emotion],
        speaker=speaker,
        text=text,
    )
