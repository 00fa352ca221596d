"""EmoDB (Burkhardt et al. 2005): ten German actors, ten sentences, seven emotions."""

import pathlib
import re

from data_prep.corpora import Corpus, Problem, Utterance, existing_folder, wav_files

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


def read(source: str | pathlib.Path) -> Corpus:
    """Lists the recordings of EmoDB: the wavs of `source`/wav, or of `source` itself.

    Raises:
      ValueError: when `source` is not a folder or holds no file named like EmoDB's.
    """
    source = existing_folder(source)
    folder = source / "wav" if (source / "wav").is_dir() else source
    utterances: dict[str, Utterance] = {}
    problems = []
    for wav in wav_files(folder, "*"):
        match = _NAME.fullmatch(wav.stem)
        if not match:
            problems.append(
                Problem(str(wav), "the name tells no label (03a01Fa.wav would)")
            )
        elif wav.stem in utterances:
            problems.append(Problem(str(wav), f"{wav.stem} is there twice"))
        else:
            speaker, _, emotion, _ = match.groups()
            utterances[wav.stem] = Utterance(wav.stem, wav, _EMOTIONS[emotion], speaker)
    if not utterances:
        raise ValueError(
            f"{source} does not look like EmoDB: {folder} has no files like "
            "03a01Fa.wav. Give the folder that holds EmoDB's wav folder."
        )
    return Corpus(list(utterances.values()), problems)
