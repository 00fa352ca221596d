"""Utterances -> TFDS records of segments, one record for each utterance."""

import dataclasses
import functools
import itertools
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from array_record.python import array_record_module
from tensorflow_datasets.core import dataset_builder

from data_prep import audio, features, processes, records, text
from data_prep.corpora import Utterance

if TYPE_CHECKING:
    import apache_beam

# A file is one worker's task: enough of them to share out, not too many to open.
_UTTERANCES_IN_FILE = 64
_MOST_FILES = 512  # in a split


@dataclasses.dataclass(frozen=True)
class File:
    """Where to write the records of which utterances."""

    path: tfds.core.Path
    utterances: list[Utterance]


class SpeechEmotion(dataset_builder.FileReaderBuilder):
    """Segments of labelled speech.

    Records follow the order of the utterances, so that equal input gives equal records.
    They are written record by record where they are computed: TFDS's own writers hold
    a split in memory, and need TensorFlow for more than 1 GB.
    """

    name = records.NAME
    VERSION = tfds.core.Version(records.VERSION)
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "Initial release.",
        "1.1.0": "Fields text, intensity and content.",
        "1.2.0": "provenance.json beside the records, and equal bytes of equal data.",
        "1.3.0": "provenance.json tells emotions, speakers, own splits and sound.",
    }

    def __init__(
        self,
        splits: dict[str, list[Utterance]],
        data_set: records.DataSet,
        data_dir: str | pathlib.Path,
        workers: int = 1,
        notes: dict[str, str] | None = None,
        pipeline: "apache_beam.Pipeline | None" = None,
    ):
        """Sets up the builder; `download_and_prepare` then writes the files.

        Args:
          splits: The utterances of each TFDS split, in the order to write.
          data_set: Corpus, segments and features.
          data_dir: The folder of all data sets.
          workers: Processes that compute features.
          notes: Text files to leave beside the records, by file name.
          pipeline: It computes features where its runner says, instead of workers.
        """
        self._utterances = splits
        self._data_set = data_set
        self._workers = workers
        self._notes = notes or {}
        self._pipeline = pipeline
        super().__init__(
            config=tfds.core.BuilderConfig(name=data_set.name),
            data_dir=data_dir,
            file_format="array_record",
        )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Speech segments labelled with emotions.",
            features=records.schema(self._data_set.feature_shape()),
            disable_shuffling=True,
        )

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        del dl_manager, download_config  # nothing is downloaded
        for name, note in self._notes.items():
            path = pathlib.Path(self.data_path / name)  # data_path is not final yet
            path.write_text(note, encoding="utf-8", newline="")
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
                    # `path.stat()` fails for a user without a name.
                    num_bytes=sum(os.path.getsize(file.path) for file in of_split),
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
        write = functools.partial(write_file, data_set=self._data_set)
        if self._pipeline:
            import apache_beam as beam  # large, and only this needs it

            with self._pipeline as pipeline:
                _ = pipeline | beam.Create(files) | beam.Reshuffle() | beam.Map(write)
            return
        total = sum(len(file.utterances) for file in files)
        with tqdm.tqdm(None, "features", total, unit="utt", disable=None) as progress:
            for written in processes.in_order(write, files, self._workers):
                progress.update(written)


def write_file(file: File, data_set: records.DataSet) -> int:
    """Computes and writes the records of a file, one after the other.

    Returns:
      How many they are.
    """
    with tfds.core.utils.incomplete_file(file.path) as path:
        # Records are compressed one by one, so that any can be read by itself.
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for utterance in file.utterances:
            writer.write(records.serialise(record(utterance, data_set)))
        writer.close()
    return len(file.utterances)


def record(utterance: Utterance, data_set: records.DataSet) -> dict:
    """Reads an utterance and computes its record (see `records.schema`).

    An utterance shorter than one segment becomes one segment of the repeated waveform,
    marked `padded`.

    Returns:
      The fields, of which `features` is a list of (segments, frequency, time): a long
      recording is never in memory as a whole.

    Raises:
      AudioError: When the file cannot be used; the message names it.
    """
    try:
        sound = audio.stream(utterance.path, utterance.start, utterance.end)
        if features.is_of_whole(data_set.features):
            segments = iter([np.concatenate([*sound])[None]])
        else:
            segments = features.segments_of(sound, data_set.segment, data_set.hop)
        images = [
            features.extract(data_set.features, some, data_set.pad_mode)
            for some in segments
        ]
    except ValueError as error:
        raise audio.AudioError(f"{text.printable(utterance.place)}: {error}") from error
    fields = records.fields(
        utterance, sound.content, sound.num_samples, data_set.segment
    )
    return fields | {"features": images}
