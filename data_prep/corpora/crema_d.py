"""CREMA-D (Cao et al. 2014): 91 American actors, twelve sentences, six emotions."""

import functools
import pathlib
import re

from data_prep import corpora

# 1001_IEO_ANG_HI.wav: actor 1001, "It's eleven o'clock", anger, high. Older releases
# name one file 1040_ITH_SAD_X.
_NAME = re.compile(
    r"(10(?:0[1-9]|[1-8]\d|9[01]))"
    r"_(IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)"
    r"_(ANG|DIS|FEA|HAP|NEU|SAD)"
    r"_(LO|MD|HI|XX?)"
)
SPEAKERS = tuple(str(number) for number in range(1001, 1092))

# Recordings of the whole corpus by emotion.
RECORDINGS = {
    "ANG": 1271,
    "DIS": 1271,
    "FEA": 1271,
    "HAP": 1271,
    "NEU": 1087,
    "SAD": 1271,
}
count_differences = functools.partial(corpora.emotion_count_differences, RECORDINGS)


def read(source: str | pathlib.Path) -> corpora.Corpus:
    """Lists the recordings of CREMA-D: `source`/AudioWAV, or `source` itself.

    The intensity is LO, MD, HI, or XX where none was asked of the actor.

    Raises:
      ValueError: When `source` is not a folder or holds no file named like CREMA-D's.
    """
    source = corpora.existing_folder(source)
    folder = source / "AudioWAV" if (source / "AudioWAV").is_dir() else source
    corpus = corpora.from_names(corpora.wav_files(folder, "*"), _utterance)
    if not corpus.utterances:
        raise ValueError(
            f"{source} does not look like CREMA-D: {folder} has no files like "
            "1001_DFA_ANG_XX.wav. Give the folder that holds CREMA-D's AudioWAV folder."
        )
    return corpora.complete(
        corpus, source, f"only {folder}/*.wav", ("audiomp3", "video*"), SPEAKERS
    )


def _utterance(wav: pathlib.Path) -> corpora.Utterance:
    match = _NAME.fullmatch(wav.stem)
    if not match:
        raise ValueError("the name tells no label (1001_DFA_ANG_XX.wav would)")
    speaker, text, emotion, level = match.groups()
    return corpora.Utterance(
        id=wav.stem,
        path=wav,
        emotion=emotion,
        speaker=speaker,
        text=text,
        intensity="XX" if level == "X" else level,
    )
