"""Records of a prepared data set -> utterances, and their segments as arrays."""

import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from absl import flags

from data_prep import paths, records
from data_prep.corpora import table
from glam_jax import prepared, splits
from glam_jax.splits import labels as labels_lib

GROUPS = splits.GROUPS  # what records hold of them
# Fields that are those of their corpus, where there are several: "emodb/03".
_OF_CORPUS = ("id", *(name for name in GROUPS if name != "content"))


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
      unknown_words: Of `config.classes` those that no utterance has.
      unused: Sentences on utterances that are not used, and were perhaps meant to be.
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
    unknown_words: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def training_segments(self, utterances: np.ndarray) -> np.ndarray:
        """(n,) int32 sorted indices of the segments that train, of some utterances."""
        return self._segments(utterances, self.training)

    def testing_segments(self, utterances: np.ndarray) -> np.ndarray:
        """(n,) int32 sorted indices of the segments that test, of some utterances."""
        return self._segments(utterances, self.testing)

    def _segments(self, utterances: np.ndarray, cut: slice) -> np.ndarray:
        found = np.flatnonzero(np.isin(self.utterance[cut], utterances))
        return (found + cut.start).astype(np.int32)


class Moments:
    """The mean and deviation of each coefficient over segments that come by and by."""

    def __init__(self):
        self._count, self._sums, self._squares = 0, np.zeros(()), np.zeros(())

    def add(self, segments: np.ndarray, has_silence: bool = False) -> None:
        """Counts some more, (segments, frequency, time).

        Args:
          segments: The segments.
          has_silence: Whether frames of zeros fill some up, which do not count.
        """
        x = np.asarray(segments, np.float64)
        counts = (x != 0).any(axis=1) if has_silence else np.ones((len(x), x.shape[2]))
        self._count += int(counts.sum())
        self._sums = self._sums + x.sum(axis=(0, 2))
        self._squares = self._squares + np.square(x).sum(axis=(0, 2))

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """(frequency, 1) float32 each; a deviation of 0, but for rounding, is 1."""
        mean = self._sums / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0))
        deviation[deviation <= 1e-6 * np.abs(mean)] = 1
        return mean[:, None].astype(np.float32), deviation[:, None].astype(np.float32)


class Source(NamedTuple):
    """Where the features of an utterance lie, and what is done to them.

    Attributes:
      records: A source of records.
      place: The record's place in it.
      segments: How many it has.
      end: Along time, where silence takes the place of what fills up the segment of a
        short recording; None for what is there.
      normalised_by: The (frequency, 1) mean and deviation; () for none.
    """

    records: Any
    place: int
    segments: int
    end: int | None = None
    normalised_by: tuple[np.ndarray, ...] = ()

    def read(self) -> np.ndarray:
        """(segments, frequency, time) as they are in the record."""
        return self.records[self.place]["features"]

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """Some of these segments as they are trained on."""
        if self.end is not None:
            x = np.where(np.arange(x.shape[2]) < self.end, x, 0)
        if self.normalised_by:
            mean, deviation = self.normalised_by
            x = (x - mean) / deviation
        return x


class Features:
    """The features of all segments, (segments, frequency, time) float32, in records.

    `features[indices]` reads those that are asked for, so that none need to stay in
    memory.
    """

    def __init__(self, sources: Sequence[Source], segment_shape: tuple[int, int]):
        """Finds each segment in the records.

        Args:
          sources: Of each record, in order.
          segment_shape: (frequency, time).
        """
        self._sources = sources
        counts = np.array([source.segments for source in sources], int)
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
            source = self._sources[record]
            x = source.read()[indices[rows] - self._first[record]]
            features[rows] = source.prepared(x)
        return features

    def normalised(self, owners: np.ndarray, training: slice) -> "Features":
        """The same with mean 0 and deviation 1 of each coefficient for each owner.

        Args:
          owners: (records,) str, whose each record is.
          training: The segments that are measured.
        """
        moments = {owner: Moments() for owner in np.unique(owners).tolist()}
        for record in np.unique(self._record[training]):
            moments[str(owners[record])].add(self._sources[record].read())
        found = {owner: of.mean_and_deviation() for owner, of in moments.items()}
        sources = [
            source._replace(normalised_by=found[owner])
            for source, owner in zip(self._sources, owners.tolist(), strict=True)
        ]
        return Features(sources, self.shape[1:])

    def repeated(self, copies: int) -> "Features":
        """The same ones several times over, read from the same records."""
        return Features([*self._sources] * copies, self.shape[1:])

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


def load(config: ml_collections.ConfigDict) -> Dataset:
    """Reads the utterances whose emotion is in the protocol's label set.

    With `short=silence`, zeros take the place of what repeats a short recording. With
    `normalise=speaker`, each coefficient has mean 0 and deviation 1 over all these
    utterances of a speaker. Those that test are among them: results are transductive.

    Raises:
      ValueError: When a data set is not prepared, lacks a split, or has no utterance of
        some class, the two of different hops hold different utterances, or speakers are
        to be normalised by and are not known.
    """
    if commands := prepared.missing(config):
        raise ValueError(prepared.not_prepared(commands, config.data_dir))
    classes = labels_lib.label_set(config)
    label_of = {
        emotion: label
        for label, emotions in enumerate(classes.values())
        for emotion in emotions
    }
    cuts = _cuts(config, label_of)
    found, feature_shape = cuts[0].used, cuts[0].shape
    text = {
        key: np.array([record.fields[key].decode() for record in found], dtype=str)
        for key in ("id", "emotion", *GROUPS)
    }
    labels = np.array([label_of[emotion] for emotion in text["emotion"]], np.int32)
    unknown = label_of.keys() - set(text["emotion"].tolist()) if config.classes else ()
    names = tuple(classes)
    if absent := [names[i] for i in range(len(names)) if i not in labels]:
        folders = prepared.folders(config)
        raise ValueError(f"{folders} has no utterance of class {', '.join(absent)}")
    of_cuts = [cut.used for cut in cuts]
    counts = np.array([[record.segments for record in cut] for cut in of_cuts])
    first, total = counts[0].sum(), counts.sum()
    features = _features(config, of_cuts, feature_shape)
    if config.normalise == "speaker":
        features = features.normalised(_speakers(config, of_cuts), slice(0, first))
    return Dataset(
        features=features,
        utterance=np.repeat(
            np.tile(np.arange(len(found), dtype=np.int32), len(cuts)), counts.ravel()
        ),
        training=slice(0, first),
        testing=slice(first if len(cuts) == 2 else 0, total),
        labels=labels,
        ids=text["id"],
        groups=splits.Groups(
            **{key: text[key] for key in GROUPS}, part=_own_split(config, text["id"])
        ),
        class_names=names,
        too_short=cuts[0].too_short,
        unknown_words=tuple(sorted(unknown)),
        unused=cuts[0].unused,
    )


class _Cut(NamedTuple):
    """The records that the protocol uses, cut by one hop.

    Attributes:
      used: They, sorted by id.
      shape: (frequency, time) of a segment.
      too_short: How many it leaves out since they are shorter than a segment.
      unused: See `Dataset`.
    """

    used: list[records.Record]
    shape: tuple[int, int]
    too_short: int
    unused: tuple[str, ...]


def _cuts(config: ml_collections.ConfigDict, label_of: dict[str, int]) -> list[_Cut]:
    """The records by the training hop, and the test hop if another.

    Raises:
      ValueError: When the two were not made of the same utterances.
    """
    found = [
        _labelled_records(config, data_sets, label_of)
        for data_sets in prepared.cuts(config)
    ]
    told = [
        [[record.fields[name] for name in records.DIGESTED] for record in cut.used]
        for cut in found
    ]
    if told[-1] != told[0]:
        raise ValueError(
            f"{prepared.folders(config)} and the one cut by hop {config.test_hop} hold "
            "different utterances; delete them and prepare them again"
        )
    return found


def _features(
    config: ml_collections.ConfigDict,
    cuts: Sequence[Sequence[records.Record]],
    feature_shape: tuple[int, int],
) -> "Features":
    has_silence = config.short == "silence"
    sources = [
        Source(
            record.source,
            record.place,
            record.segments,
            record.fields["num_samples"] if has_silence else None,
        )
        for cut in cuts
        for record in cut
    ]
    return Features(sources, feature_shape)


def _speakers(
    config: ml_collections.ConfigDict, cuts: Sequence[Sequence[records.Record]]
) -> np.ndarray:
    """Who speaks in each record, to normalise by.

    Raises:
      ValueError: When it is not known of one.
    """
    for record in cuts[0]:
        if not record.fields["speaker"]:
            raise ValueError(
                f"config.normalise=speaker: {prepared.folders(config)} names no "
                f"speaker of {record.fields['id'].decode()}; "
                "--config.normalise=training"
            )
    return np.array(
        [record.fields["speaker"].decode() for cut in cuts for record in cut]
    )


def _labelled_records(
    config: ml_collections.ConfigDict,
    data_sets: Sequence[records.DataSet],
    label_of: dict[str, int],
) -> _Cut:
    """The records that the protocol uses, of one hop.

    Args:
      config: The config.
      data_sets: Of each corpus one, cut alike.
      label_of: The label of each emotion that is used.
    """
    keeps_short = splits.protocol(config.protocol).keeps_short
    shape, used, too_short = (0, 0), [], 0
    unused: list[str] = []
    for data_set in data_sets:
        parts, others = config.tfds_splits, []
        if len(data_sets) > 1:
            parts, others = _parts(config, data_set)
        unused += others
        found, shape = records.read(data_set, config.data_dir, parts)
        labelled = [r for r in found if r.fields["emotion"].decode() in label_of]
        kept = [r for r in labelled if keeps_short or not r.fields["padded"]]
        too_short += len(labelled) - len(kept)
        words = Counter(r.fields["emotion"].decode() for r in found)
        unused += _nearly_used(words, label_of)
        if not kept and len(data_sets) > 1:
            raise ValueError(
                f"no utterance of {data_set.corpus} is of a class; its emotions are "
                f"{', '.join(sorted(words))} (--config.classes)"
            )
        if len(data_sets) > 1:
            kept = [_of_corpus(record, data_set.corpus) for record in kept]
        used += kept
    in_order = sorted(used, key=lambda record: record.fields["id"])
    return _Cut(in_order, shape, too_short, tuple(unused))


def _nearly_used(words: Counter, label_of: dict[str, int]) -> list[str]:
    """Sentences on words in no class that are spelled nearly as one that is in one."""
    spelled = {table.spelling(word): word for word in label_of}
    return [
        f"{count} utterances are {word!r}, which is in no class: config.classes has "
        f"{spelled[table.spelling(word)]!r}"
        for word, count in sorted(words.items())
        if word not in label_of and table.spelling(word) in spelled
    ]


def _parts(
    config: ml_collections.ConfigDict, data_set: records.DataSet
) -> tuple[list[str], list[str]]:
    """Of several corpora, the TFDS splits to read of one; and sentences on others."""
    has = records.provenance(data_set.folder(config.data_dir))["splits"]
    parts = [part for part in config.tfds_splits if part in has]
    if not parts:
        raise ValueError(
            f"{data_set.corpus} has none of config.tfds_splits "
            f"{','.join(config.tfds_splits)}; add those of its {', '.join(has)} to be "
            "used"
        )
    return parts, [
        f"{told['utterances']} utterances of {data_set.corpus} are in {part}, which is "
        "not in config.tfds_splits"
        for part, told in has.items()
        if part not in parts
    ]


def _of_corpus(record: records.Record, corpus: str) -> records.Record:
    own = {
        name: f"{corpus}/".encode() + record.fields[name]
        for name in _OF_CORPUS
        if record.fields[name]
    }
    return dataclasses.replace(record, fields=record.fields | own)


def _own_split(config: ml_collections.ConfigDict, ids: np.ndarray) -> np.ndarray:
    """The part of each utterance in the split of its corpus, '' for none."""
    parts, (data_sets, *_) = {}, prepared.cuts(config)
    for data_set in data_sets:
        prefix = f"{data_set.corpus}/" if len(data_sets) > 1 else ""
        of_corpus = records.own_split(data_set.folder(config.data_dir))
        parts |= {prefix + id_: part for id_, part in of_corpus.items()}
    return np.array([parts.get(id_, "") for id_ in ids], str)
