"""Utterances -> TFDS records of segments, one record for each utterance."""

import dataclasses
import functools
import itertools
import pathlib
from typing import TYPE_CHECKING

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from array_record.python import array_record_module
from tensorflow_datasets.core import dataset_builder

from data_prep import audio, features, processes
from data_prep.corpora import Utterance

if TYPE_CHECKING:
    import apache_beam

# A file is one worker's task: enough of them to share out, not too many to open.
_UTTERANCES_IN_FILE = 64
_MOST_FILES = 512  # in a split


@dataclasses.dataclass(eq=False)
class SpeechEmotionConfig(tfds.core.BuilderConfig):
    """Which corpus, cut how, seen through which features.

    Attributes:
      corpus: a module of data_prep.corpora.
      features: a kind of `features.extract`.
      segment: samples in a segment, at 16 kHz.
      hop: samples between the starts of two segments.
      pad_mode: 'reflect' or 'constant', see `features.extract`.
      emotions: the corpus's words kept, () for all.
    """

    name: str = dataclasses.field(default="", init=False)  # from the rest
    corpus: str = ""
    features: str = "mfcc"
    segment: int = 28800
    hop: int = 3199
    pad_mode: str = "reflect"
    emotions: tuple[str, ...] = ()

    def __post_init__(self):
        kind = self.features.replace(":", ".")  # of one's own: package.module:function
        self.name = f"{self.corpus}_{kind}_{self.segment}_{self.hop}_{self.pad_mode}"
        if self.emotions:
            self.name += "_" + "-".join(sorted(self.emotions))

    def feature_shape(self) -> tuple[int, int]:
        """(frequency, time) of one segment."""
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, self.segment))
        return features.extract(self.features, noise, self.pad_mode).shape[1:]


@dataclasses.dataclass(frozen=True)
class File:
    """Where to write the records of which utterances."""

    path: pathlib.PurePath  # etils.epath.Path
    utterances: list[Utterance]


class SpeechEmotion(dataset_builder.FileReaderBuilder):
    """Segments of labelled speech.

    Records follow the order of the utterances, so that equal input gives equal records.
    They are written record by record where they are computed: TFDS's own writers hold
    a split in memory, and need TensorFlow for more than 1 GB.
    """

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "Initial release.",
        "1.1.0": "Fields text, intensity and content.",
    }

    def __init__(
        self,
        splits: dict[str, list[Utterance]],
        config: SpeechEmotionConfig,
        data_dir: str | pathlib.Path,
        workers: int = 1,
        notes: dict[str, str] | None = None,
        pipeline: "apache_beam.Pipeline | None" = None,
    ):
        """Sets up the builder; `download_and_prepare` then writes the files.

        Args:
          splits: the utterances of each TFDS split, in the order to write.
          config: corpus, segments and features.
          data_dir: the folder of all data sets.
          workers: processes that compute features.
          notes: text files to leave beside the records, by file name.
          pipeline: computes features where its runner says, instead of the workers.
        """
        self._utterances = splits
        self._workers = workers
        self._notes = notes or {}
        self._pipeline = pipeline
        super().__init__(config=config, data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            description="Speech segments labelled with emotions.",
            features=tfds.features.FeaturesDict(
                {
                    "id": text,
                    # Stored as bytes: a list of numbers takes 130 times as long.
                    "features": tfds.features.Tensor(
                        shape=(None, *self.builder_config.feature_shape()),
                        dtype=np.float32,
                        encoding="bytes",
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
            ),
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager, download_config):
        del dl_manager, download_config  # nothing is downloaded
        for name, text in self._notes.items():
            (self.data_path / name).write_text(text)  # data_path is not final yet
        files = {
            split: self._files(split, utterances)
            for split, utterances in self._utterances.items()
        }
        self._write(list(itertools.chain(*files.values())))
        self.info.set_splits(
            tfds.core.SplitDict(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[len(file.utterances) for file in of_split],
                    num_bytes=sum(file.path.stat().length for file in of_split),
                    filename_template=self._get_filename_template(split),
                )
                for split, of_split in files.items()
            )
        )

    def _files(self, split: str, utterances: list[Utterance]) -> list[File]:
        """Shares the utterances of a split out over files, in order."""
        count = min(-(-len(utterances) // _UTTERANCES_IN_FILE), _MOST_FILES)
        paths = self._get_filename_template(split).sharded_filepaths(count)
        bounds = [len(utterances) * index // count for index in range(count + 1)]
        return [
            File(path, utterances[start:end])
            for path, (start, end) in zip(
                paths, itertools.pairwise(bounds), strict=True
            )
        ]

    def _write(self, files: list[File]) -> None:
        write = functools.partial(
            write_file, config=self.builder_config, schema=self.info.features
        )
        if self._pipeline:
            import apache_beam as beam  # large, and only this needs it

            with self._pipeline as pipeline:
                _ = pipeline | beam.Create(files) | beam.Reshuffle() | beam.Map(write)
            return
        total = sum(len(file.utterances) for file in files)
        with tqdm.tqdm(None, "features", total, unit="utt", disable=None) as progress:
            for written in processes.in_order(write, files, self._workers):
                progress.update(written)


def write_file(
    file: File, config: SpeechEmotionConfig, schema: tfds.features.FeaturesDict
) -> int:
    """Computes and writes the records of a file, one after the other.

    Returns:
      How many they are.
    """
    with tfds.core.utils.incomplete_file(file.path) as path:
        # Records are compressed one by one, so that any can be read by itself.
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for utterance in file.utterances:
            writer.write(schema.serialize_example(record(utterance, config)))
        writer.close()
    return len(file.utterances)


def record(utterance: Utterance, config: SpeechEmotionConfig) -> dict:
    """Reads an utterance and computes its record (the schema in `_info`).

    An utterance shorter than one segment becomes one segment of the repeated waveform,
    marked `padded`.

    Raises:
      AudioError: when the file cannot be used; the message names it.
    """
    try:
        sound = audio.read(utterance.path)
    except audio.AudioError as error:
        raise audio.AudioError(f"{utterance.path}: {error}") from error
    segments = features.segment(sound.wave, config.segment, config.hop)
    return {
        "id": utterance.id,
        "features": features.extract(config.features, segments, config.pad_mode),
        "emotion": utterance.emotion,
        "speaker": utterance.speaker,
        "session": utterance.session,
        "dialogue": utterance.dialogue,
        "kind": utterance.kind,
        "text": utterance.text,
        "intensity": utterance.intensity,
        "content": sound.digest(),
        "num_samples": len(sound.wave),
        "padded": len(sound.wave) < config.segment,
    }
