"""Records of a prepared data set -> utterances, and their segments as arrays."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
import numpy as np
from absl import flags

from data_prep import paths, records
from glam_jax import splits
from glam_jax.splits import labels as labels_lib

GROUPS = tuple(field.name for field in dataclasses.fields(splits.Groups))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The labelled utterances that a protocol uses, sorted by id, and their segments.

    Attributes:
      features: The features of all segments, in the records.
      utterance: (segments,) int32, the utterance of a segment.
      training: The segments that were cut by the training hop.
      testing: Those cut by the test hop; the same ones when the hops are equal.
      labels: (utterances,) int32.
      ids: (utterances,) str.
      groups: What each utterance belongs to.
      class_names: The names of the classes, by label.
      too_short: How many utterances of these classes the protocol leaves out, since
        they are shorter than a segment.
    """

    features: "Features"
    utterance: np.ndarray
    training: slice
    testing: slice
    labels: np.ndarray
    ids: np.ndarray
    groups: splits.Groups
    class_names: tuple[str, ...]
    too_short: int = 0

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
        records: Sequence[tuple[Any, int]],
        counts: np.ndarray,
        segment_shape: tuple[int, int],
    ):
        """Finds each segment in the records.

        Args:
          records: Where each record lies: in which source, at which place.
          counts: (records,) the number of segments in each.
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
          chunks: Arrays of indices.
          workers: Processes that read; 0 for threads of this one.
        """
        import grain  # takes a second

        dataset = grain.MapDataset.source(chunks).map(self.__getitem__)
        dataset = dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
        )
        if workers:
            if not flags.FLAGS.is_parsed():  # Grain reads its own, even in a notebook
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(workers))
        with paths.written(
            pathlib.Path("/dev/shm"),
            "enlarge it (docker run --shm-size=1g), or read in threads: "
            "--config.input_workers=0",
        ):
            yield from dataset


def data_sets(config: ml_collections.ConfigDict) -> list[records.DataSet]:
    """What a config reads: cut by its training hop, and by its test hop if another."""
    return [
        records.DataSet(
            corpus=config.corpus,
            features=config.features,
            segment=config.segment,
            hop=hop,
            pad_mode=config.pad_mode,
            emotions=tuple(config.emotions),
        )
        for hop in dict.fromkeys((config.hop, config.test_hop))
    ]


def missing(config: ml_collections.ConfigDict) -> list[str]:
    """The commands that prepare what a config reads and is not there."""
    return [
        data_set.how_to_prepare(config.data_dir)
        for data_set in data_sets(config)
        if not data_set.is_prepared(config.data_dir)
    ]


def load(config: ml_collections.ConfigDict) -> Dataset:
    """Reads the utterances whose emotion is in the protocol's label set.

    Raises:
      ValueError: When a data set is not prepared, lacks a split, or has no utterance of
        some class, or the two of different hops hold different utterances.
    """
    if commands := missing(config):
        raise ValueError(not_prepared(commands, config.data_dir))
    classes = labels_lib.label_set(config)
    label_of = {
        emotion: label
        for label, emotions in enumerate(classes.values())
        for emotion in emotions
    }
    cuts = [
        _labelled_records(config, data_set, label_of) for data_set in data_sets(config)
    ]
    (found, feature_shape, too_short), *_ = cuts
    text = {
        key: np.array([record.fields[key].decode() for record in found], dtype=str)
        for key in ("id", "emotion", *GROUPS)
    }
    labels = np.array([label_of[emotion] for emotion in text["emotion"]], np.int32)
    names = tuple(classes)
    folders = [data_set.folder(config.data_dir) for data_set in data_sets(config)]
    if absent := [names[i] for i in range(len(names)) if i not in labels]:
        raise ValueError(f"{folders[0]} has no utterance of class {', '.join(absent)}")
    ids = [[record.fields["id"] for record in cut] for cut, *_ in cuts]
    if ids[-1] != ids[0]:
        raise ValueError(
            f"{folders[0]} and {folders[-1]} hold different utterances; delete them "
            "and prepare them again"
        )
    counts = np.array([[record.segments for record in cut] for cut, *_ in cuts])
    first, total = counts[0].sum(), counts.sum()
    return Dataset(
        features=Features(
            [(record.source, record.place) for cut, *_ in cuts for record in cut],
            counts.ravel(),
            feature_shape,
        ),
        utterance=np.repeat(
            np.tile(np.arange(len(found), dtype=np.int32), len(cuts)), counts.ravel()
        ),
        training=slice(0, first),
        testing=slice(first if len(cuts) == 2 else 0, total),
        labels=labels,
        ids=text["id"],
        groups=splits.Groups(**{key: text[key] for key in GROUPS}),
        class_names=names,
        too_short=too_short,
    )


def _labelled_records(
    config: ml_collections.ConfigDict,
    data_set: records.DataSet,
    label_of: dict[str, int],
) -> tuple[list[records.Record], tuple[int, int], int]:
    """The records that the protocol uses, sorted by id, and a segment's shape.

    And the number of those that it leaves out since they are shorter than a segment.
    """
    found, shape = records.read(data_set, config.data_dir, config.tfds_splits)
    keeps_short = splits.protocol(config.protocol).keeps_short
    labelled = [r for r in found if r.fields["emotion"].decode() in label_of]
    used = [r for r in labelled if keeps_short or not r.fields["padded"]]
    too_short = len(labelled) - len(used)
    return sorted(used, key=lambda record: record.fields["id"]), shape, too_short


def not_prepared(commands: list[str], data_dir: str) -> str:
    """What to do when data sets are missing.

    Args:
      commands: What `missing` gave.
      data_dir: Where the data sets were looked for.
    """
    return (
        f"not prepared yet in {pathlib.Path(data_dir).expanduser().absolute()}. "
        "Prepare it with:\n"
        + "".join(f"  {command}\n" for command in commands)
        + "No corpus at hand? Try the synthetic demo:\n"
        "  python -m data_prep.build --corpus=demo\n"
        "  python -m glam_jax.main --config=configs/demo.py"
    )
