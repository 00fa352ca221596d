"""One module per corpus; each turns a source folder into utterances.

The reader of a published corpus has a `read(source) -> Corpus`. It lists files and
labels and never opens, renames or writes audio. And it has a
`count_differences(turns)`, which says in sentences where (kind, emotion, seconds) of
every recording are not as published. `table` reads the labels of any other corpus, and
`demo` makes one up.
"""

import dataclasses
import fnmatch
import os
import pathlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

# How the names of sound files end.
SOUND = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif")
SOUND += (".aiff", ".au", ".sph", ".w64", ".rf64", ".caf")


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One labelled recording, in the corpus's own words.

    Attributes:
      id: Unique within the corpus; records are written in the order of ids.
      path: The sound file.
      emotion: The corpus's own emotion word ('neu', 'exc', 'anger', ...).
      speaker: The person who speaks.
      session: The recording session, '' where the corpus has none.
      dialogue: The conversation, '' where the corpus has none.
      kind: 'impro' or 'script' for IEMOCAP, what a table has as kind, or ''.
      text: The sentence spoken ('a01', 'DFA', ...), '' where nothing was prescribed.
      intensity: The corpus's own word for how strongly the emotion is acted ('strong',
        'HI', ...), '' where it has none.
      part: 'train', 'validation' or 'test' in the corpus's own split, '' where it has
        none.
      start: Where the recording begins in its file, in seconds.
      end: Where it ends, in seconds; None for the end of the file.
      row: Where its label stands ('labels.csv, line 7'), '' where that is the name.
    """

    id: str
    path: pathlib.Path
    emotion: str
    speaker: str
    session: str = ""
    dialogue: str = ""
    kind: str = ""
    text: str = ""
    intensity: str = ""
    part: str = ""
    start: float = 0.0
    end: float | None = None
    row: str = ""

    @property
    def place(self) -> str:
        """The file, and where its label stands: how messages name the recording."""
        return f"{self.path} ({self.row})" if self.row else str(self.path)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A file or label line that cannot be used, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What a reader found: utterances sorted by id, and what it could not use.

    `warnings` are sentences about what is odd and loses nothing that is there.
    """

    utterances: list[Utterance]
    problems: list[Problem]
    warnings: tuple[str, ...] = ()


def readers() -> tuple[str, ...]:
    """The names of the corpora that have a reader, without importing it."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in modules if name != "table")


def existing_folder(source: str | pathlib.Path) -> pathlib.Path:
    """Returns `source` as a path.

    Raises:
      ValueError: When it is not an existing folder.
    """
    folder = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    return folder


def is_sound(name: str) -> bool:
    """Whether a file is called like sound, and is not what macOS leaves (._*)."""
    return pathlib.Path(name).suffix.lower() in SOUND and not name.startswith("._")


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is no empty one."""
    raise ValueError(f"{error.filename} cannot be listed ({error.strerror})") from error


def below(folder: pathlib.Path) -> tuple[list[pathlib.Path], Counter]:
    """What lies below a folder, and below the folders that links in it name.

    Args:
      folder: Where to look.

    Returns:
      The files that are called like sound, folder by folder and sorted, those behind
      links last and no folder twice; and how many others end how, hidden ones aside.

    Raises:
      ValueError: When a folder cannot be listed.
    """
    sounds: list[pathlib.Path] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    waiting = [str(folder)]
    for top in waiting:  # it grows
        for root, folders, names in os.walk(top, onerror=_refuse):
            if (real := os.path.realpath(root)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            inner = [os.path.join(root, name) for name in folders]
            waiting += filter(os.path.islink, inner)
            for path in (pathlib.Path(root, name) for name in sorted(names)):
                if is_sound(path.name):
                    sounds.append(path)
                elif not path.name.startswith("."):
                    others[path.suffix.lower() or "without a suffix"] += 1
    return sounds, others


def wav_files(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Sorted wav files (.wav or .WAV) below `folder`, without what macOS leaves (._*).

    Args:
      folder: Where to look.
      pattern: A glob of the files' paths, without the extension.
    """
    wavs = sorted(folder.glob(f"{pattern}.[wW][aA][vV]"))
    return [wav for wav in wavs if not wav.name.startswith("._")]


def from_names(
    wavs: Iterable[pathlib.Path], parse: Callable[[pathlib.Path], Utterance]
) -> Corpus:
    """Makes a corpus of recordings whose names are their labels.

    Args:
      wavs: The files; of two with the same id the first is kept.
      parse: A file -> its utterance, or a ValueError that says why its name gives none.
    """
    utterances: dict[str, Utterance] = {}
    problems = []
    for wav in wavs:
        try:
            utterance = parse(wav)
        except ValueError as error:
            problems.append(Problem(str(wav), str(error)))
            continue
        if utterance.id in utterances:
            problems.append(Problem(str(wav), f"{utterance.id} is there twice"))
        else:
            utterances[utterance.id] = utterance
    in_order = sorted(utterances.values(), key=lambda utterance: utterance.id)
    return Corpus(in_order, problems)


def complete(
    corpus: Corpus,
    source: pathlib.Path,
    where: str,
    elsewhere: Sequence[str] = (),
    speakers: Sequence[str] = (),
) -> Corpus:
    """Adds what lies in a corpus's folder and was not read, and who is missing.

    Args:
      corpus: What was read.
      source: The corpus's folder.
      where: Where the reader looks, to say so.
      elsewhere: Folders of the release that hold other sound, as lower-case patterns of
        their paths in `source`.
      speakers: All speakers of the corpus.
    """
    problems, warnings = [], list(corpus.warnings)
    read = {utterance.path.stem for utterance in corpus.utterances}
    refused: list[OSError] = []
    for path, files in _unread(corpus, source, elsewhere, refused).items():
        sounds = "is not" if path in files else f"{len(files)} sound files here are not"
        if all(file.stem in read for file in files):
            warnings.append(f"{path}: {sounds} read: the same names are read elsewhere")
        else:
            problems.append(Problem(str(path), f"{sounds} looked for: {where}"))
    for error in refused:
        why = f"cannot be listed ({error.strerror})"
        problems.append(Problem(str(error.filename), why))
    found = {utterance.speaker for utterance in corpus.utterances}
    if missing := [speaker for speaker in speakers if speaker not in found]:
        warnings.append(f"no recording of speaker {', '.join(missing)}")
    return Corpus(corpus.utterances, corpus.problems + problems, tuple(warnings))


def _unread(
    corpus: Corpus,
    source: pathlib.Path,
    elsewhere: Sequence[str],
    refused: list[OSError],
) -> dict[pathlib.Path, list[pathlib.Path]]:
    """Sound files that no reader took, by the largest folder that has no other ones.

    Args:
      corpus: What was read.
      source: The corpus's folder.
      elsewhere: See `complete`.
      refused: It receives what went wrong with folders that cannot be listed.
    """
    taken = {utterance.path for utterance in corpus.utterances}
    taken |= {pathlib.Path(problem.path) for problem in corpus.problems}
    used = {folder for path in taken for folder in path.parents}
    found: dict[pathlib.Path, list[pathlib.Path]] = {}
    for root, folders, names in os.walk(source, onerror=refused.append):
        folder = pathlib.Path(root)
        folders[:] = [
            name
            for name in sorted(folders)
            if not _is_one_of((folder / name).relative_to(source), elsewhere)
        ]
        for name in sorted(names):
            path = folder / name
            if is_sound(name) and path not in taken:
                parents = [path, *path.relative_to(source).parents]
                inside = [source / parent for parent in reversed(parents)]
                place = next((p for p in inside if p not in used), path)
                found.setdefault(place, []).append(path)
    return found


def _is_one_of(path: pathlib.Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path.as_posix().lower(), p) for p in patterns)


def emotion_count_differences(
    published: dict[str, int], turns: Iterable[tuple[str, str, float]]
) -> list[str]:
    """Compares a corpus with its published counts by emotion.

    Args:
      published: Recordings of each emotion.
      turns: (kind, emotion, seconds) of every recording.

    Returns:
      One sentence that names the emotions whose counts differ, with both numbers, or
      nothing when none does.
    """
    found = Counter(emotion for _, emotion, _ in turns)
    differences = [
        f"{emotion} {found[emotion]} of {count}"
        for emotion, count in published.items()
        if found[emotion] != count
    ]
    if not differences:
        return []
    return [f"counts are not the published ones: {', '.join(differences)}"]
