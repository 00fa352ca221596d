"""One module per corpus; each turns a source folder into utterances.

Every reader has a `read(source) -> Corpus`. It lists files and labels and never
opens, renames or writes audio.
"""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One labelled recording, in the corpus's own words.

    Attributes:
      id: unique within the corpus; records are written in the order of ids.
      path: the wav file.
      emotion: the corpus's own emotion word ('neu', 'exc', 'anger', ...).
      speaker: the person who speaks.
      session: the recording session, '' where the corpus has none.
      dialogue: the conversation, '' where the corpus has none.
      kind: 'impro' or 'script' for IEMOCAP, '' elsewhere.
    """

    id: str
    path: pathlib.Path
    emotion: str
    speaker: str
    session: str = ""
    dialogue: str = ""
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A file or label line that cannot be used, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What a reader found: utterances sorted by id, and what it could not use."""

    utterances: list[Utterance]
    problems: list[Problem]


def existing_folder(source: str | pathlib.Path) -> pathlib.Path:
    """Returns `source` as a path.

    Raises:
      ValueError: when it is not an existing folder.
    """
    folder = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    return folder


def wav_files(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Sorted wav files (.wav or .WAV) below `folder`, without what macOS leaves (._*).

    Args:
      folder: where to look.
      pattern: a glob of the files' paths, without the extension.
    """
    wavs = sorted(folder.glob(f"{pattern}.[wW][aA][vV]"))
    return [wav for wav in wavs if not wav.name.startswith("._")]
