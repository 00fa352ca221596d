"""A prepared data set: its name, where it lies, what its records hold and came from."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import corpora, features, text

if TYPE_CHECKING:
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    from data_prep.corpora import Utterance

NAME = "speech_emotion"
VERSION = "1.3.0"
PROVENANCE = "provenance.json"
OWN_SPLIT = "own_split.csv"  # beside the records of a corpus that has a split
TEXTS = ("id", "emotion", "speaker", "session", "dialogue", "kind", "text", "intensity")
TEXTS += ("content",)
# What decides a record besides its features, which follow from it.
DIGESTED = (*TEXTS, "num_samples", "padded")
_MOST_OPEN = 32  # record files at a time; macOS allows 256 files of all kinds
_READ_AT_ONCE = 1 << 26  # bytes of records, and at most so many records:
_RECORDS_AT_ONCE = 256  # faster than one by one
_MOST_BYTES = 1 << 31  # that a record can hold


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Which corpus, cut how, seen through which features.

    Attributes:
      corpus: The name of the corpus.
      features: A kind of `features.extract`.
      segment: Samples in a segment, at 16 kHz.
      hop: Samples between the starts of two segments.
      pad_mode: 'reflect' or 'constant', see `features.extract`.
      emotions: The corpus's words that are kept, () for all.

    Raises:
      ValueError: When a word cannot be part of a folder's name.
    """

    corpus: str
    features: str = "mfcc"
    segment: int = 28800
    hop: int = 3199
    pad_mode: str = "reflect"
    emotions: tuple[str, ...] = ()

    def __post_init__(self):
        for what, word in [
            ("corpus", self.corpus),
            ("features", self.features),
            *(("emotions", emotion) for emotion in self.emotions),
        ]:
            if "/" in word or "\\" in word or ".." in word or not word.isprintable():
                raise ValueError(
                    f"--{what}: {word!r} cannot be part of a folder's name"
                )
        if len(self.name.encode()) > 200:
            raise ValueError(
                f"--emotions: too many to name a folder after: {self.name}"
            )

    @property
    def name(self) -> str:
        """The name of its folder, which says all of this."""
        kind = self.features.replace(":", ".")  # of one's own: package.module:function
        parts = [self.corpus, kind, str(self.segment), str(self.hop), self.pad_mode]
        if self.emotions:
            parts.append("-".join(sorted(self.emotions)))
        return "_".join(parts)

    def folder(self, data_dir: str | pathlib.Path) -> pathlib.Path:
        """Where it lies in the folder of all data sets."""
        return pathlib.Path(data_dir).expanduser() / NAME / self.name / VERSION

    def is_prepared(self, data_dir: str | pathlib.Path) -> bool:
        """Whether it is there, and whole."""
        return (self.folder(data_dir) / "dataset_info.json").is_file()

    def how_to_prepare(self, data_dir: str | pathlib.Path) -> str:
        """The command that prepares it."""
        source = " --source=/path/to/the/corpus"
        corpus = f"--corpus={self.corpus}"
        if self.corpus == "demo":
            source = ""
        elif self.corpus not in corpora.readers():
            corpus = f"--corpus=table --name={self.corpus}"
            source = " --labels=/path/to/labels.csv"
        words = shlex.quote(",".join(self.emotions))
        emotions = f" --emotions={words}" if self.emotions else ""
        return (
            f"python -m data_prep.build {corpus}{source}"
            f" --data_dir={shlex.quote(str(data_dir))} --features={self.features}"
            f" --segment={self.segment} --hop={self.hop} --pad_mode={self.pad_mode}"
            f"{emotions}"
        )

    def how_to_repair(self, data_dir: str | pathlib.Path) -> str:
        """What to do when it is not what was prepared."""
        return (
            f"delete {self.folder(data_dir)} and prepare it again with: "
            f"{self.how_to_prepare(data_dir)}"
        )

    def feature_shape(self) -> tuple[int, int]:
        """(frequency, time) of one segment."""
        noise = features.noise(self.segment)
        _, frequency, time = features.extract(self.features, noise, self.pad_mode).shape
        return frequency, time

    def own_features(self) -> dict[str, list[float]]:
        """What `features.own_values` gives, by a name; {} for none of one's own."""
        values = features.own_values(self.features, self.segment, self.pad_mode)
        return {"own_values": values} if values else {}


def schema(feature_shape: tuple[int, int]) -> "tfds.features.FeaturesDict":
    """What a record holds: one utterance, and the features of its segments.

    Args:
      feature_shape: (frequency, time) of a segment.
    """
    import tensorflow_datasets as tfds  # takes seconds

    return tfds.features.FeaturesDict(
        {
            # Stored as bytes: a list of numbers takes 130 times as long.
            "features": tfds.features.Tensor(
                shape=(None, *feature_shape), dtype=np.float32, encoding="bytes"
            ),
            # Of them `content` is the same for the same samples, in any corpus.
            **{name: tfds.features.Text() for name in TEXTS},
            "num_samples": np.int64,
            "padded": np.bool_,
        }
    )


def fields(
    utterance: "Utterance", content: str, num_samples: int, segment: int
) -> dict[str, Any]:
    """What a record holds besides its features.

    Args:
      utterance: A labelled recording.
      content: The digest of its samples.
      num_samples: How many they are, at 16 kHz.
      segment: Samples in a segment.
    """
    return {
        **{name: getattr(utterance, name) for name in TEXTS if name != "content"},
        "content": content,
        "num_samples": num_samples,
        "padded": num_samples < segment,
    }


def serialise(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record (a tf.train.Example), the same for the same record.

    Args:
      record: See `schema`; 'features' is a list of (segments, frequency, time).

    Raises:
      ValueError: When it is too long for a record.
    """
    from tensorflow_datasets.proto import tf_example_pb2  # takes seconds

    example = tf_example_pb2.Example()  # pyrefly: ignore[missing-attribute]
    feature = example.features.feature
    for name in TEXTS:
        feature[name].bytes_list.value.append(record[name].encode())
    for name in ("num_samples", "padded"):
        feature[name].int64_list.value.append(int(record[name]))
    # Messages are merged by putting them one behind the other. The features are not
    # copied into one of protobuf's: those of two hours are 200 MB.
    blocks = [np.ascontiguousarray(block, "<f4") for block in record["features"]]
    size = sum(block.nbytes for block in blocks)
    if size >= _MOST_BYTES:
        raise ValueError(
            f"{record['id']}: its features have {size / 1e9:.1f} GB, a record holds "
            "2.1: cut the recording into parts, or take a longer --hop"
        )
    values = _of_field(1, size)
    of_list = _of_field(1, len(values) + size)
    name = _of_field(1, len(b"features")) + b"features"
    value = _of_field(2, len(of_list) + len(values) + size)
    entry = len(name) + len(value) + len(of_list) + len(values) + size
    of_features = _of_field(1, entry)
    head = _of_field(1, len(of_features) + entry)
    head += of_features + name + value + of_list + values
    fields = example.SerializeToString(deterministic=True)
    return b"".join([fields, head, *(block.data for block in blocks)])


def _of_field(number: int, length: int) -> bytes:
    """What protobuf writes before a field of some bytes: its number, and how many."""
    head = bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length])


def describe(
    data_set: DataSet,
    feature_shape: tuple[int, int],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    source: str,
    own_split: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What is kept beside the records of where they came from, see `provenance`.

    Args:
      data_set: Which one.
      feature_shape: (frequency, time) of a segment.
      splits: The fields of all records of each split, in their order.
      source: The name of the corpus's folder, or of its table.
      own_split: The part of each utterance by id, where the corpus has a split.
    """
    told = {
        name: {
            "utterances": len(rows),
            "segments": sum(segments(row["num_samples"], data_set) for row in rows),
            "digest": _digest(data_set, feature_shape, rows),
        }
        for name, rows in splits.items()
    }
    described = {
        "splits": told,
        "own_split": _sha256(own_split_text(own_split)) if own_split else None,
        **_groups([row for rows in splits.values() for row in rows]),
    }
    return {
        "digest": _total(described),
        **described,
        "source": source,
        "data_set": dataclasses.asdict(data_set),
        "feature_shape": list(feature_shape),
        "features_version": features.VERSION,
        "records_version": VERSION,
        **data_set.own_features(),
    }


def _sha256(written: str) -> str:
    return hashlib.sha256(written.encode()).hexdigest()


def _speakers(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {row["speaker"] for row in rows} - {""}


def _groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which emotions there are, by whom, and how many speakers can be kept apart."""
    by_emotion: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_emotion.setdefault(row["emotion"], []).append(row)
    emotions = {
        emotion: {"utterances": len(some), "speakers": len(_speakers(some))}
        for emotion, some in sorted(by_emotion.items())
    }
    apart = kept_together([(row["speaker"], row["session"]) for row in rows])
    return {
        "emotions": emotions,
        "speakers": len(_speakers(rows)),
        "without_speaker": sum(not row["speaker"] for row in rows),
        "speaker_groups": len({*apart} - {""}),
    }


def kept_together(rows: Sequence[tuple[str, str]]) -> list[str]:
    """What folds of speakers keep together: a session, or else a speaker.

    Where a speaker comes in several sessions it is the speaker alone: who is not named
    there may be any of them.

    Args:
      rows: The speaker and the session of each utterance, '' where not known.

    Returns:
      The session or speaker of each, '' where it is not known.
    """
    met = {(speaker, session) for speaker, session in rows if speaker}
    if len(met) > len({speaker for speaker, _ in met}):
        return [speaker for speaker, _ in rows]
    return [session or speaker for speaker, session in rows]


def own_split_text(parts: Mapping[str, str]) -> str:
    """The text of `OWN_SPLIT`.

    Args:
      parts: 'train', 'validation', 'test' or '' of each utterance, by id.
    """
    return text.csv_text(("utterance", "split"), sorted(parts.items()))


def own_split(folder: pathlib.Path) -> dict[str, str]:
    """The part of each utterance in the corpus's own split, by id; {} without one.

    Args:
      folder: The data set's, see `DataSet.folder`.

    Raises:
      ValueError: When it is not what was prepared.
    """
    path, written = folder / OWN_SPLIT, provenance(folder).get("own_split")
    if not written:
        return {}
    _, rows = text.read_csv(path) if path.is_file() else ([], [])
    parts = {row[0]: row[1] for row in rows if len(row) == 2}
    if _sha256(own_split_text(parts)) != written:
        raise ValueError(f"{path} is not what was prepared (the digest differs)")
    return parts


def provenance(folder: pathlib.Path) -> dict[str, Any]:
    """What a data set was made of.

    Args:
      folder: The data set's, see `DataSet.folder`.

    Returns:
      'digest' (hex, of ids, contents, labels, groups, cuts and features), 'source' (the
      name of the corpus's folder), 'splits' with the counts and the digest of each, and
      the settings.

    Raises:
      ValueError: When it is not there or damaged.
    """
    path = folder / PROVENANCE
    try:
        told = json.loads(path.read_bytes())
        for split in told["splits"].values():
            _ = split["digest"], split["utterances"], split["segments"]
        _ = told["source"]
        if told["digest"] != _total(told):
            raise ValueError("its digests contradict each other")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is missing or damaged ({error})") from error
    return told


def _total(told: Mapping[str, Any]) -> str:
    """The SHA-256 of all that `describe` tells of the utterances."""
    names = ("splits", "own_split", *_groups([]))
    return _sha256(json.dumps({name: told[name] for name in names}, sort_keys=True))


def segments(num_samples: int, data_set: DataSet) -> int:
    """How many segments a recording is cut into, a short one into one."""
    if features.is_of_whole(data_set.features):
        return 1
    length = max(num_samples, data_set.segment)
    return features.count(length, data_set.segment, data_set.hop)


def _digest(
    data_set: DataSet, feature_shape: tuple[int, int], rows: Iterable[Mapping]
) -> str:
    """SHA-256 of all that decides the records."""
    cut = [data_set.segment, data_set.hop, data_set.pad_mode]
    settings = [data_set.features, features.VERSION, *map(int, feature_shape), *cut]
    sha256 = hashlib.sha256(json.dumps(settings).encode())
    for row in rows:
        cells = [row[name] for name in DIGESTED]
        sha256.update(json.dumps(cells).encode() + b"\n")
    return sha256.hexdigest()


@dataclasses.dataclass(frozen=True)
class Record:
    """A record without its features, and where it lies.

    Attributes:
      fields: Its texts (bytes), `num_samples` and `padded`.
      source: All records of its split, a `Source`; `source[place]["features"]` reads
        its own.
      place: Which of them it is.
      segments: Segments that it holds.
    """

    fields: dict[str, Any]
    source: Any
    place: int
    segments: int


def read(
    data_set: DataSet, data_dir: str | pathlib.Path, splits: Sequence[str] | None = None
) -> tuple[list[Record], tuple[int, int]]:
    """Reads a prepared data set, all but the features.

    Args:
      data_set: Which one.
      data_dir: The folder of all data sets.
      splits: The TFDS splits to read, None for all.

    Returns:
      The records in their order, and (frequency, time) of a segment.

    Raises:
      ValueError: When it lacks a split, is damaged, or does not hold what was prepared.
    """
    import tensorflow_datasets as tfds  # takes seconds

    folder, repair = data_set.folder(data_dir), data_set.how_to_repair(data_dir)
    try:
        builder = tfds.builder_from_directory(folder)
        known, shape = builder.info.splits, builder.info.features["features"].shape[1:]
    except Exception as error:  # of any library below
        raise ValueError(f"{folder} is damaged ({_short(error)}): {repair}") from error
    try:
        told = provenance(folder)
    except ValueError as error:
        raise ValueError(f"{error}: {repair}") from error
    cut = data_set.features, data_set.segment, data_set.pad_mode
    if not features.are_own_values(told.get("own_values"), *cut):
        raise ValueError(
            f"{data_set.features} gives other features now than when {folder} was "
            f"prepared: {repair}"
        )
    if missing := set(splits or ()) - set(known):
        raise ValueError(
            f"{folder} has no split {', '.join(sorted(missing))}; it has "
            f"{', '.join(known)} (config.tfds_splits)"
        )
    found = []
    for name in splits or known:
        _check_sizes(known[name], repair)
        source = Source.of_split(known[name], builder.info.features, repair)
        of_split = [*source.fields()]
        _check(folder, name, data_set, shape, of_split, told["splits"], repair)
        found += [
            Record(row, source, place, segments(row["num_samples"], data_set))
            for place, row in enumerate(of_split)
        ]
    return found, shape


def _check_sizes(split: "tfds.core.SplitInfo", repair: str) -> None:
    """Compares the size of a split's files with what TFDS has written down."""
    files = [pathlib.Path(path) for path in split.filepaths]
    for path in files:
        if not path.is_file():
            raise ValueError(f"{path} is missing: {repair}")
    if sum(path.stat().st_size for path in files) != split.num_bytes:
        raise ValueError(
            f"{files[0]}, or another file of {split.name}, has not the size that was "
            f"written: {repair}"
        )


def _check(folder, name, data_set, shape, rows, told, repair) -> None:
    """Compares a split with what was written down when it was prepared."""
    if name not in told or told[name]["utterances"] != len(rows):
        prepared = told[name]["utterances"] if name in told else 0
        raise ValueError(
            f"{folder} holds {len(rows)} utterances of {name}, {prepared} were "
            f"prepared: {repair}"
        )
    if _digest(data_set, shape, map(_decoded, rows)) != told[name]["digest"]:
        raise ValueError(
            f"{folder} does not hold the utterances of {name} that were prepared (the "
            f"digest differs): {repair}"
        )


def decoded(record: Record) -> dict[str, Any]:
    """The fields of a record as they were before they were stored."""
    return _decoded(record.fields)


def _decoded(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: row[name].decode() for name in TEXTS}
    return texts | {
        "num_samples": int(row["num_samples"]),
        "padded": bool(row["padded"]),
    }


class Source:
    """The records of a split, read from a few open files at a time."""

    def __init__(
        self,
        files: Sequence[tuple[str, int]],
        features: "tfds.features.FeaturesDict",
        repair: str,
    ):
        """Finds the records.

        Args:
          files: The path of each record file, and how many records it holds.
          features: The schema.
          repair: What to do when a file is damaged.
        """
        self._files = files
        self._features = features
        self._repair = repair
        lengths = [length for _, length in files]
        self._file = np.repeat(np.arange(len(files)), lengths)
        self._first = np.cumsum(lengths) - lengths

    @classmethod
    def of_split(
        cls,
        split: "tfds.core.SplitInfo",
        features: "tfds.features.FeaturesDict",
        repair,
    ) -> "Source":
        """The records of a split of TFDS."""
        paths = map(str, split.filepaths)
        return cls([*zip(paths, split.shard_lengths, strict=True)], features, repair)

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, place: int) -> dict:
        """A record with its features.

        Raises:
          ValueError: When its file is damaged; the message names it.
        """
        file = self._file[place]
        (record,) = self._decoded(file, [int(place - self._first[file])], None)
        return record

    def fields(self) -> Iterator[dict]:
        """All records without their features, in their order."""
        import tensorflow_datasets as tfds  # takes seconds

        skip = {"features": tfds.decode.SkipDecoding()}
        for file, (path, length) in enumerate(self._files):
            path = pathlib.Path(path)
            size = max(path.stat().st_size if path.is_file() else 0, 1)
            at_once = min(_RECORDS_AT_ONCE, max(1, _READ_AT_ONCE * length // size))
            for start in range(0, length, at_once):
                places = [*range(start, min(start + at_once, length))]
                for record in self._decoded(file, places, skip):
                    del record["features"]
                    yield record

    def _decoded(self, file: int, places: list[int], decoders) -> Iterator[Any]:
        path, length = self._files[file]
        try:
            reader = _reader(path, pathlib.Path(path).stat().st_mtime_ns)
            if (there := reader.num_records()) != length:
                raise ValueError(f"it holds {there} records instead of {length}")
            for stored in reader.read(places):
                yield self._features.deserialize_example_np(stored, decoders=decoders)
        except Exception as error:  # of any library below
            raise ValueError(
                f"{path} is damaged ({_short(error)}): {self._repair}"
            ) from error


@functools.lru_cache(maxsize=_MOST_OPEN)  # what falls out is closed
def _reader(path: str, changed: int) -> "array_record_module.ArrayRecordReader":
    """An open record file.

    Args:
      path: Where it lies.
      changed: When it was changed, so that another file of this name is opened anew.
    """
    from array_record.python import array_record_module

    del changed
    return array_record_module.ArrayRecordReader(
        path, options="readahead_buffer_size:0", file_reader_buffer_size=32768
    )


def _short(error: Exception) -> str:
    """The first line of an error, without where in a library it arose."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"; .*", "", first)[:200]
