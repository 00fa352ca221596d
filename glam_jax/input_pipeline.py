"""Records of a prepared data set -> utterances, and their segments as arrays."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import grain
import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import flags

from glam_jax import splits
from glam_jax.splits import labels as labels_lib

VERSION = "1.1.0"  # of the records
GROUPS = tuple(field.name for field in dataclasses.fields(splits.Groups))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The labelled utterances that a protocol uses, sorted by id, and their segments.

    Attributes:
      features: of all segments, in the records.
      utterance: (segments,) int32, the utterance of a segment.
      training: which segments were cut with the training hop.
      testing: which were cut with the test hop; the same ones when the hops are equal.
      labels: (utterances,) int32.
      ids: (utterances,) str.
      groups: what each utterance belongs to.
      class_names: by label.
    """

    features: "Features"
    utterance: np.ndarray
    training: slice
    testing: slice
    labels: np.ndarray
    ids: np.ndarray
    groups: splits.Groups
    class_names: tuple[str, ...]

    def training_segments(self, utterances: np.ndarray) -> np.ndarray:
        """(n,) int32 sorted indices of the segments that train, of some utterances."""
        return self._segments(utterances, self.training)

    def testing_segments(self, utterances: np.ndarray) -> np.ndarray:
        """(n,) int32 sorted indices of the segments that test, of some utterances."""
        return self._segments(utterances, self.testing)

    def _segments(self, utterances: np.ndarray, cut: slice) -> np.ndarray:
        found = np.flatnonzero(np.isin(self.utterance[cut], utterances))
        return (found + cut.start).astype(np.int32)


class Features:
    """The features of all segments, (segments, frequency, time) float32, in records.

    `features[indices]` reads those that are asked for, so that none need to stay in
    memory.
    """

    def __init__(
        self,
        records: Sequence[tuple[Sequence[dict], int]],
        counts: np.ndarray,
        segment_shape: tuple[int, int],
    ):
        """Finds each segment in the records.

        Args:
          records: where each one lies: in which source, at which place.
          counts: (records,) segments in each.
          segment_shape: (frequency, time).
        """
        self._records = records
        self._counts = counts
        self._record = np.repeat(np.arange(len(counts)), counts)
        self._first = np.cumsum(counts) - counts
        self.shape = (len(self._record), *segment_shape)

    @property
    def nbytes(self) -> int:
        """Of all in memory."""
        return 4 * int(np.prod(self.shape))

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """(n, frequency, time) of some segments; each record is read once."""
        features = np.empty((len(indices), *self.shape[1:]), np.float32)
        records, owners = np.unique(self._record[indices], return_inverse=True)
        by_record = np.split(
            np.argsort(owners, kind="stable"), np.cumsum(np.bincount(owners))[:-1]
        )
        for record, rows in zip(records, by_record, strict=True):
            source, place = self._records[record]
            in_record = source[place]["features"]
            features[rows] = in_record[indices[rows] - self._first[record]]
        return features

    def repeated(self, copies: int) -> "Features":
        """The same ones several times over, read from the same records."""
        counts = np.tile(self._counts, copies)
        return Features([*self._records] * copies, counts, self.shape[1:])

    def read_all(self) -> np.ndarray:
        """(segments, frequency, time) of all segments."""
        return self[np.arange(len(self._record))]

    def stream(
        self, chunks: Sequence[np.ndarray], workers: int
    ) -> Iterator[np.ndarray]:
        """Reads chunks of segments ahead of their use.

        Args:
          chunks: arrays of indices.
          workers: processes that read; 0 for threads of this one.
        """
        dataset = grain.MapDataset.source(chunks).map(self.__getitem__)
        dataset = dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
        )
        if workers:
            if not flags.FLAGS.is_parsed():  # Grain reads its own, even in a notebook
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers))
        return iter(dataset)


def dataset_folder(config: ml_collections.ConfigDict, hop: int) -> pathlib.Path:
    """Where data_prep.build has put a data set that a config asks for."""
    name = "_".join(
        str(value)
        for value in (
            config.corpus,
            config.features.replace(":", "."),  # of one's own
            config.segment,
            hop,
            config.pad_mode,
        )
    )
    if config.emotions:
        name += "_" + "-".join(sorted(config.emotions))
    data_dir = pathlib.Path(config.data_dir).expanduser()
    return data_dir / "speech_emotion" / name / VERSION


def missing(config: ml_collections.ConfigDict) -> list[str]:
    """The commands that prepare what a config asks for and is not there."""
    return [
        _how_to_prepare(config, hop)
        for hop in dict.fromkeys((config.hop, config.test_hop))
        if not (dataset_folder(config, hop) / "dataset_info.json").is_file()
    ]


def load(config: ml_collections.ConfigDict) -> Dataset:
    """Reads the utterances whose emotion is in the protocol's label set.

    Raises:
      ValueError: when a data set is not prepared, lacks a split, or has no utterance of
        some class, or the two of different hops hold different utterances.
    """
    if commands := missing(config):
        raise ValueError(not_prepared(commands))
    classes = labels_lib.label_set(config)
    label_of = {
        emotion: label
        for label, emotions in enumerate(classes.values())
        for emotion in emotions
    }
    cuts = [
        _labelled_records(config, hop, label_of)
        for hop in dict.fromkeys((config.hop, config.test_hop))
    ]
    records = cuts[0]
    text = {
        key: np.array([record[key].decode() for record in records], dtype=str)
        for key in ("id", "emotion", *GROUPS)
    }
    labels = np.array([label_of[emotion] for emotion in text["emotion"]], np.int32)
    names = tuple(classes)
    if absent := [names[i] for i in range(len(names)) if i not in labels]:
        raise ValueError(
            f"{dataset_folder(config, config.hop)} has no utterance of class "
            f"{', '.join(absent)}"
        )
    if [r["id"] for r in cuts[-1]] != [r["id"] for r in records]:
        raise ValueError(
            f"{dataset_folder(config, config.hop)} and "
            f"{dataset_folder(config, config.test_hop)} hold different utterances; "
            "delete them and prepare them again"
        )
    counts = np.array([[record["segments"] for record in cut] for cut in cuts])
    first, total = counts[0].sum(), counts.sum()
    return Dataset(
        features=Features(
            [(record["source"], record["place"]) for cut in cuts for record in cut],
            counts.ravel(),
            records[0]["shape"],
        ),
        utterance=np.repeat(
            np.tile(np.arange(len(records), dtype=np.int32), len(cuts)), counts.ravel()
        ),
        training=slice(0, first),
        testing=slice(first if len(cuts) == 2 else 0, total),
        labels=labels,
        ids=text["id"],
        groups=splits.Groups(**{key: text[key] for key in GROUPS}),
        class_names=names,
    )


def _labelled_records(
    config: ml_collections.ConfigDict, hop: int, label_of: dict[str, int]
) -> list[dict]:
    """The records that the protocol uses, sorted by id, without their features.

    Instead they say where they lie, `source` and `place`, and how many `segments` of
    which `shape` they hold.
    """
    keeps_short = splits.protocol(config.protocol).keeps_short
    records = [
        record
        for record in _records(dataset_folder(config, hop), config.tfds_splits)
        if record["emotion"].decode() in label_of
        and (keeps_short or not record["padded"])
    ]
    return sorted(records, key=lambda record: record["id"])


def _records(folder: pathlib.Path, tfds_splits: tuple[str, ...]) -> Iterator[dict]:
    builder = tfds.builder_from_directory(folder)
    if missing := set(tfds_splits) - set(builder.info.splits):
        raise ValueError(
            f"{folder} has no split {', '.join(sorted(missing))}; it has "
            f"{', '.join(builder.info.splits)} (config.tfds_splits)"
        )
    for name in tfds_splits:
        source = builder.as_data_source(name)
        for start in range(0, len(source), 256):  # faster than one by one
            places = range(start, min(start + 256, len(source)))
            for place, record in zip(places, source.__getitems__(places), strict=True):
                segments, *shape = record.pop("features").shape
                where = {"source": source, "place": place}
                yield record | where | {"segments": segments, "shape": tuple(shape)}


def _how_to_prepare(config: ml_collections.ConfigDict, hop: int) -> str:
    settings = " ".join(
        f"--{key}={value}"
        for key, value in (
            ("data_dir", config.data_dir),
            ("features", config.features),
            ("segment", config.segment),
            ("hop", hop),
            ("pad_mode", config.pad_mode),
        )
    )
    if config.emotions:
        settings += f" --emotions={','.join(config.emotions)}"
    source = "" if config.corpus == "demo" else " --source=/path/to/the/corpus"
    return f"python -m data_prep.build --corpus={config.corpus}{source} {settings}"


def not_prepared(commands: list[str]) -> str:
    """What to do when data sets are missing.

    Args:
      commands: of `missing`.
    """
    return (
        "not prepared yet. Prepare it with:\n"
        + "".join(f"  {command}\n" for command in commands)
        + "No corpus at hand? Try the synthetic demo:\n"
        "  python -m data_prep.build --corpus=demo\n"
        "  python -m glam_jax.main --config=configs/demo.py"
    )
