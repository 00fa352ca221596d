"""Utterances -> TFDS records of segments, one record for each utterance."""

import dataclasses
import pathlib
from collections.abc import Iterator

import joblib
import numpy as np
import tensorflow_datasets as tfds
import tqdm

from data_prep import audio, features
from data_prep.corpora import Utterance


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
        self.name = (
            f"{self.corpus}_{self.features}_{self.segment}_{self.hop}_{self.pad_mode}"
        )
        if self.emotions:
            self.name += "_" + "-".join(sorted(self.emotions))

    def feature_shape(self) -> tuple[int, int]:
        """(frequency, time) of one segment."""
        silence = np.zeros((1, self.segment), np.float32)
        return features.extract(self.features, silence, self.pad_mode).shape[1:]


class SpeechEmotion(tfds.core.GeneratorBasedBuilder):
    """Segments of labelled speech.

    Records follow the order of the utterances, so that equal input gives equal records.
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
    ):
        """Sets up the builder; `download_and_prepare` then writes the files.

        Args:
          splits: the utterances of each TFDS split, in the order to write.
          config: corpus, segments and features.
          data_dir: the folder of all data sets.
          workers: processes that compute features.
          notes: text files to leave beside the records, by file name.
        """
        self._utterances = splits
        self._workers = workers
        self._notes = notes or {}
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

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        for name, text in self._notes.items():
            (self.data_path / name).write_text(text)  # data_path is not final yet
        return {
            split: self._generate_examples(split, utterances)
            for split, utterances in self._utterances.items()
        }

    def _generate_examples(
        self, split: str, utterances: list[Utterance]
    ) -> Iterator[tuple[int, dict]]:
        in_order = joblib.Parallel(n_jobs=self._workers, return_as="generator")(
            joblib.delayed(record)(utterance, self.builder_config)
            for utterance in utterances
        )
        progress = tqdm.tqdm(
            in_order, f"features, {split}", len(utterances), unit="utt", disable=None
        )
        yield from enumerate(progress)


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
