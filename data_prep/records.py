"""A prepared data set: its name, where it lies, what its records hold."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_prep import features

NAME = "speech_emotion"
VERSION = "1.1.0"


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
    """

    corpus: str
    features: str = "mfcc"
    segment: int = 28800
    hop: int = 3199
    pad_mode: str = "reflect"
    emotions: tuple[str, ...] = ()

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
        source = "" if self.corpus == "demo" else " --source=/path/to/the/corpus"
        emotions = f" --emotions={','.join(self.emotions)}" if self.emotions else ""
        return (
            f"python -m data_prep.build --corpus={self.corpus}{source}"
            f" --data_dir={data_dir} --features={self.features}"
            f" --segment={self.segment} --hop={self.hop} --pad_mode={self.pad_mode}"
            f"{emotions}"
        )

    def feature_shape(self) -> tuple[int, int]:
        """(frequency, time) of one segment."""
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, self.segment))
        _, frequency, time = features.extract(self.features, noise, self.pad_mode).shape
        return frequency, time


def schema(feature_shape: tuple[int, int]) -> tfds.features.FeaturesDict:
    """What a record holds: one utterance, and the features of its segments.

    Args:
      feature_shape: (frequency, time) of a segment.
    """
    text = tfds.features.Text()
    return tfds.features.FeaturesDict(
        {
            "id": text,
            # Stored as bytes: a list of numbers takes 130 times as long.
            "features": tfds.features.Tensor(
                shape=(None, *feature_shape), dtype=np.float32, encoding="bytes"
            ),
            "emotion": text,
            "speaker": text,
            "session": text,
            "dialogue": text,
            "kind": text,
            "text": text,
            "intensity": text,
            "content": text,  # the same for the same samples, in any corpus
            "num_samples": np.int64,
            "padded": np.bool_,
        }
    )


@dataclasses.dataclass(frozen=True)
class Record:
    """A record without its features, and where it lies.

    Attributes:
      fields: Its texts, `num_samples` and `padded`.
      source: All records of its file set; `source[place]["features"]` reads its own.
      place: Which of them it is.
      segments: Segments that it holds.
    """

    fields: dict[str, Any]
    source: Sequence[dict]
    place: int
    segments: int


def read(
    data_set: DataSet, data_dir: str | pathlib.Path, splits: Sequence[str]
) -> tuple[list[Record], tuple[int, int]]:
    """Reads a prepared data set, all but the features.

    Args:
      data_set: Which one.
      data_dir: The folder of all data sets.
      splits: The TFDS splits to read.

    Returns:
      The records in their order, and (frequency, time) of a segment.

    Raises:
      ValueError: When it lacks a split.
    """
    folder = data_set.folder(data_dir)
    builder = tfds.builder_from_directory(folder)
    if missing := set(splits) - set(builder.info.splits):
        raise ValueError(
            f"{folder} has no split {', '.join(sorted(missing))}; it has "
            f"{', '.join(builder.info.splits)} (config.tfds_splits)"
        )
    found = []
    for name in splits:
        source = builder.as_data_source(name)
        for place, fields in enumerate(_without_features(builder, name)):
            samples = max(fields["num_samples"], data_set.segment)
            segments = features.count(samples, data_set.segment, data_set.hop)
            found.append(Record(fields, source, place, segments))
    return found, builder.info.features["features"].shape[1:]


def _without_features(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[dict]:
    """The records of a split; their features are not decoded."""
    skip = {"features": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=skip)
    for start in range(0, len(source), 256):  # faster than one by one
        for record in source.__getitems__(range(start, min(start + 256, len(source)))):
            del record["features"]
            yield record
