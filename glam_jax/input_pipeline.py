"""Records of a prepared data set -> arrays that fit on a device."""

import dataclasses
import pathlib

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from glam_jax import splits


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The labelled utterances that a protocol uses, sorted by id, and their segments.

    Attributes:
      features: (segments, frequency, time) float32.
      utterance: (segments,) int32, the utterance of a segment.
      labels: (utterances,) int32.
      ids: (utterances,) str.
      groups: speaker, session and dialogue of each utterance.
      class_names: by label.
    """

    features: np.ndarray
    utterance: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    groups: splits.Groups
    class_names: tuple[str, ...]

    def segments_of(self, utterances: np.ndarray) -> np.ndarray:
        """(n,) int32 sorted indices of the segments of the given utterances."""
        return np.flatnonzero(np.isin(self.utterance, utterances)).astype(np.int32)


def dataset_folder(config: ml_collections.ConfigDict) -> pathlib.Path:
    """Where data_prep.build has put the data set that a config asks for."""
    name = "_".join(
        str(config[key]) for key in ("corpus", "features", "segment", "hop", "pad_mode")
    )
    if config.emotions:
        name += "_" + "-".join(sorted(config.emotions))
    data_dir = pathlib.Path(config.data_dir).expanduser()
    return data_dir / "speech_emotion" / name / "1.0.0"


def load(config: ml_collections.ConfigDict) -> Dataset:
    """Reads the utterances whose emotion is in the protocol's label set.

    Raises:
      ValueError: when the data set is not prepared, lacks a split, or has no utterance
        of some class.
    """
    folder = dataset_folder(config)
    if not (folder / "dataset_info.json").is_file():
        raise ValueError(f"no data set in {folder}.\n{_how_to_prepare(config)}")
    protocol = splits.protocol(config.protocol)
    classes = config.classes[protocol.label_set]
    label_of = {
        emotion: label
        for label, (_, emotions) in enumerate(classes)
        for emotion in emotions
    }
    records = [
        record
        for record in _records(folder, config.tfds_splits)
        if record["emotion"].decode() in label_of
        and (protocol.keeps_short or not record["padded"])
    ]
    records.sort(key=lambda record: record["id"])
    text = {
        key: np.array([record[key].decode() for record in records], dtype=str)
        for key in ("id", "emotion", "speaker", "session", "dialogue")
    }
    labels = np.array([label_of[emotion] for emotion in text["emotion"]], np.int32)
    names = tuple(name for name, _ in classes)
    if missing := [names[i] for i in range(len(names)) if i not in labels]:
        raise ValueError(f"{folder} has no utterance of class {', '.join(missing)}")
    counts = [len(record["features"]) for record in records]
    return Dataset(
        features=np.concatenate([record["features"] for record in records]),
        utterance=np.repeat(np.arange(len(records), dtype=np.int32), counts),
        labels=labels,
        ids=text["id"],
        groups=splits.Groups(text["speaker"], text["session"], text["dialogue"]),
        class_names=names,
    )


def _records(folder: pathlib.Path, tfds_splits: tuple[str, ...]) -> list[dict]:
    builder = tfds.builder_from_directory(folder)
    if missing := set(tfds_splits) - set(builder.info.splits):
        raise ValueError(
            f"{folder} has no split {', '.join(sorted(missing))}; it has "
            f"{', '.join(builder.info.splits)} (config.tfds_splits)"
        )
    sources = [builder.as_data_source(name) for name in tfds_splits]
    return [
        record
        for source in sources
        for record in source.__getitems__(range(len(source)))
    ]


def _how_to_prepare(config: ml_collections.ConfigDict) -> str:
    settings = " ".join(
        f"--{key}={config[key]}"
        for key in ("data_dir", "features", "segment", "hop", "pad_mode")
    )
    if config.emotions:
        settings += f" --emotions={','.join(config.emotions)}"
    source = "" if config.corpus == "demo" else " --source=/path/to/the/corpus"
    return (
        "Prepare it with:\n"
        f"  python -m data_prep.build --corpus={config.corpus}{source} {settings}\n"
        "No corpus at hand? Try the synthetic demo:\n"
        "  python -m data_prep.build --corpus=demo\n"
        "  python -m glam_jax.main --config=configs/demo.py"
    )
