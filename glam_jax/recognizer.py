"""A trained model as a thing: `load` opens it, a `Recognizer` answers for waveforms."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data_prep import audio, features, paths
from glam_jax import models, parallel, shipped, weights
from glam_jax.models import inputs

# How a recording is told from those in training: what it has, and the unit.
_SOUND = {
    "level": ("has a level of", "dB of full scale"),
    "treble": ("has nearly nothing above 4 kHz:", "dB of its power"),
}
_MARGIN = 10  # dB beyond what was heard in training
BATCH_SIZE = 8  # segments at once: one compilation serves recordings of any length


def load(path: str | pathlib.Path | None = None, run: int | str = 0) -> "Recognizer":
    """Opens a trained model, by its weights and model.json alone.

    Compiled programs are kept in the user's cache folder, as in training.

    Args:
      path: The folder of a training, an exported one, or one made by
        `torch_weights.write_folder`; None for the model that comes with the package,
        which knows the acted German of EmoDB (its MODEL_CARD.md says how well).
      run: The number of a run, or 'all' for the mean probability of all runs.

    Returns:
      A recognizer of the epoch that the training reports.

    Raises:
      ValueError: When there is no such model or run, or one that must know a speaker's
        other recordings; it says what to do.
    """
    folder = shipped.FOLDER if path is None else paths.local(path, "the folder")
    recognizer = restore(folder, run)
    if weights.is_transductive(recognizer.description):
        raise ValueError(
            f"{folder} was trained with normalise=speaker: it answers for speakers all "
            "of whose recordings are known, by python -m glam_jax.evaluate. Train with "
            "--config.normalise=training for a model of any recording"
        )
    return recognizer


def restore(folder: pathlib.Path, run: int | str) -> "Recognizer":
    """Opens a trained model for segments that are normalised as in its training.

    Args:
      folder: The folder of a training, or another with a model.json.
      run: The number of a run, or 'all'.
    """
    description = weights.read(folder)
    found = {str(chosen["run"]): chosen for chosen in description["runs"]}
    if run != "all" and str(run) not in found:
        raise ValueError(
            f"{folder} has no finished run {run}; finished are "
            f"{', '.join(found) or 'none'}. The command of the training goes on with it"
        )
    cut = description["features"]
    if not features.are_own_values(
        cut.get("own_values"), cut["kind"], cut["segment"], cut["pad_mode"]
    ):
        raise ValueError(
            f"{cut['kind']} gives other features now than when {folder} was trained: "
            "give it the function that it was trained with"
        )
    parallel.use_compilation_cache()
    classes, shape = description["classes"], tuple(cut["shape"])
    done = inputs.Inputs.of(
        description.get("inputs", {}) | {"dtype": description["dtype"]}
    )
    model = models.create_model(description["model"], len(classes), done)
    like = weights.shapes(model, shape)
    variables = [
        weights.restore(
            weights.inside(folder, chosen["weights"]), like, chosen["sha256"]
        )
        for number, chosen in found.items()
        if run == "all" or number == str(run)
    ]
    return Recognizer(model, variables, description)


class Recognizer:
    """Tells emotions from speech.

    What is no sound (silent, NaN, empty) raises `data_prep.audio.AudioError`, a
    ValueError, with the words of the preparation. Another rate or several channels are
    converted. What is shorter than a segment is filled up as in training.

    Attributes:
      class_names: The emotions, in the order of all probabilities.
      description: What model.json holds: features, versions, corpus, protocol, ...
      model: The network.
      variables: {'params', 'batch_stats'} of each run.
    """

    def __init__(
        self, model: nn.Module, variables: list[dict], description: dict[str, Any]
    ):
        """Makes a recognizer; see `load`.

        Args:
          model: The network.
          variables: {'params', 'batch_stats'} of each run.
          description: What model.json holds.
        """
        self.class_names = tuple(description["classes"])
        self.description = description
        self.model = model
        self.variables = [jax.device_put(of_run) for of_run in variables]
        self._apply = jax.jit(functools.partial(logits_and_embedding, model))

    def probabilities(self, wave: np.ndarray, rate: int = 16000) -> np.ndarray:
        """The probability of each class for a recording, by its mean logits.

        Args:
          wave: (samples,) or (samples, channels), full scale one, or integers.
          rate: Samples per second.

        Returns:
          (classes,) float32; of several runs the mean.
        """
        return self.answer(audio.from_samples(wave, rate)).probabilities

    def over_time(
        self, wave: np.ndarray, rate: int = 16000
    ) -> tuple[np.ndarray, np.ndarray]:
        """The probability of each class for each segment of a recording.

        Args:
          wave: (samples,) or (samples, channels), full scale one, or integers.
          rate: Samples per second.

        Returns:
          (n, 2) float64, start and end of the segments in seconds, and (n, classes)
          float32. A recording shorter than a segment is one, which ends with it.
        """
        answer = self.answer(audio.from_samples(wave, rate))
        return answer.times, answer.over_time

    def embed(self, wave: np.ndarray, rate: int = 16000) -> np.ndarray:
        """The mean embedding of a recording's segments: the classifier's input.

        Args:
          wave: (samples,) or (samples, channels), full scale one, or integers.
          rate: Samples per second.

        Returns:
          (features,) float32, of the first run where there are several: embeddings of
          different runs have nothing in common.

        Raises:
          ValueError: When the network sows no embedding.
        """
        embedding = self.answer(audio.from_samples(wave, rate)).embedding
        if embedding is None:
            raise ValueError(
                f"{self.description['model']} names no embedding: let it call "
                'self.sow("intermediates", "embedding", x)'
            )
        return embedding

    def answer(self, sound: audio.Stream) -> "Answer":
        """All that the model says of a recording, however long it is.

        Args:
          sound: The recording, opened by `audio.stream` or `audio.from_samples`.
        """
        return Stream(self, sound, BATCH_SIZE).read()

    def stream(self, rate: int = 16000, channels: int = 1) -> "Stream":
        """Begins to listen to sound that comes by and by, as from a microphone.

        Args:
          rate: Samples per second.
          channels: Channels of the sound.
        """
        stream = Stream(self, audio.Stream(rate, channels), batch_size=1)
        cut = self.description["features"]
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, cut["segment"]))
        self.outputs(noise.astype(np.float32), 1)  # compiles
        return stream

    def unheard(self, sound: audio.Stream) -> list[str]:
        """What tells a recording from those that the model was trained on.

        Args:
          sound: The recording, which has ended.

        Returns:
          Sentences without the recording's name; [] where it is like them.
        """
        found = []
        half = self.description["features"]["segment"] / 2
        if sound.num_samples < half:
            found.append(
                f"has {sound.num_samples / features.SAMPLE_RATE:.2f} s, less than half "
                "of a training segment"
            )
        heard = self.description.get("sound", {})
        for name, (what, unit) in _SOUND.items():
            value = getattr(sound, name)
            low, high = heard.get(name, (math.nan, math.nan))
            if value < low - _MARGIN or (name == "level" and value > high + _MARGIN):
                found.append(
                    f"{what} {value:.0f} {unit}; in the training data they were "
                    f"{low:.0f} to {high:.0f}"
                )
        return found

    def outputs(
        self, segments: np.ndarray, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What the networks say of some segments.

        Args:
          segments: (n, samples), no more than a batch.
          batch_size: Segments that are computed: a program is compiled for each size.

        Returns:
          (runs, n, classes) logits, and (n, features) embeddings of the first run, None
          where the network names none.
        """
        cut = self.description["features"]
        x = features.extract(cut["kind"], segments, cut["pad_mode"])
        return self.from_features(x, batch_size)

    def from_features(
        self, x: np.ndarray, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What the networks say of the features of some segments.

        Args:
          x: (n, frequency, time), no more than a batch.
          batch_size: See `outputs`, which gives the same.
        """
        count = len(x)
        filled = np.resize(x, (batch_size, *x.shape[1:]))
        with jax.enable_x64(False):  # whatever the caller computes with
            batch = inputs.cast(
                self.model, jnp.asarray(filled), self.description["dtype"]
            )
            # On the host before it is cut: JAX would compile for each number of rows.
            of_runs = [jax.device_get(self._apply(v, batch)) for v in self.variables]
        logits = np.stack([logits for logits, _ in of_runs])
        embedding = of_runs[0][1]
        return (
            logits[:, :count],
            None if embedding is None else embedding[:count],
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of a recording.

    Attributes:
      seconds: How long the recording is.
      times: (n, 2) float64, start and end of its segments in seconds.
      logits: (runs, n, classes) float32.
      embedding: (features,) float32, the mean over the segments for the first run; None
        where the network names none.
    """

    seconds: float
    times: np.ndarray
    logits: np.ndarray
    embedding: np.ndarray | None

    @property
    def probabilities(self) -> np.ndarray:
        """(classes,) float32, by the mean logits; of several runs the mean."""
        return softmax(self.logits.mean(axis=1)).mean(axis=0)

    @property
    def over_time(self) -> np.ndarray:
        """(n, classes) float32, of each segment; of several runs the mean."""
        return softmax(self.logits).mean(axis=0)


class Stream:
    """A recording that a model is listening to.

    Attributes:
      times: (n, 2) float64, start and end in seconds of the segments so far.
    """

    def __init__(self, recognizer: Recognizer, sound: audio.Stream, batch_size: int):
        """Begins without samples; see `Recognizer.stream`.

        Args:
          recognizer: The model.
          sound: The recording.
          batch_size: Segments that are computed at once: one program serves all.
        """
        cut = recognizer.description["features"]
        self._recognizer, self._sound = recognizer, sound
        short = weights.short(recognizer.description)
        self._segments = features.Segments(cut["segment"], cut["hop"], short)
        self._waiting = np.zeros((0, cut["segment"]), np.float32)
        self._batch_size = batch_size
        self._logits: list[np.ndarray] = []
        self._embeddings: list[np.ndarray] = []  # sums over batches

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Takes the next samples.

        Args:
          samples: (samples,) or (samples, channels), full scale one, or integers.

        Returns:
          (n, classes) float32, the probabilities of the segments that are complete now
          and were not before.

        Raises:
          AudioError: When they are NaN or far too loud.
        """
        known = len(self._logits)
        block = audio.as_floats(audio.with_channels(samples))
        self._take(self._sound.feed(block))
        shape = (0, len(self._recognizer.class_names))
        new = [softmax(logits).mean(axis=0) for logits in self._logits[known:]]
        return np.concatenate([np.zeros(shape, np.float32), *new])

    def end(self) -> Answer:
        """Ends the recording.

        Returns:
          What the model says of the whole, as `Recognizer.answer` does.

        Raises:
          AudioError: When the recording is empty, silent or constant.
        """
        self._take(self._sound.end())
        return self._answer()

    def read(self) -> Answer:
        """Takes a recording that is at hand from its start to its end."""
        for block in self._sound:
            self._take(block)
        return self._answer()

    @property
    def times(self) -> np.ndarray:
        cut = self._recognizer.description["features"]
        starts = np.arange(sum(of_some.shape[1] for of_some in self._logits))
        starts = starts * cut["hop"]
        # A recording shorter than a segment ends with it.
        ends = np.minimum(starts + cut["segment"], self._segments.num_samples)
        return np.stack([starts, ends], axis=1) / features.SAMPLE_RATE

    def _take(self, block: np.ndarray) -> None:
        self._wait(self._segments.feed(block))

    def _wait(self, segments: Iterable[np.ndarray]) -> None:
        """Computes the segments as soon as they fill a batch."""
        for some in segments:
            self._waiting = np.concatenate([self._waiting, some])
            while len(self._waiting) >= self._batch_size:
                self._compute(self._waiting[: self._batch_size])
                self._waiting = self._waiting[self._batch_size :]

    def _compute(self, segments: np.ndarray) -> None:
        logits, embeddings = self._recognizer.outputs(segments, self._batch_size)
        self._logits.append(logits)
        if embeddings is not None:
            self._embeddings.append(embeddings.sum(axis=0))

    def _answer(self) -> Answer:
        self._wait(self._segments.end())
        if len(self._waiting):
            self._compute(self._waiting)
        logits = np.concatenate(self._logits, axis=1)
        embedding = None
        if self._embeddings:
            embedding = np.sum(self._embeddings, axis=0) / logits.shape[1]
        seconds = self._segments.num_samples / features.SAMPLE_RATE
        return Answer(seconds, self.times, logits, embedding)


def logits_and_embedding(
    model: nn.Module, variables: dict, x: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """(segments, classes) logits, and (segments, features) embeddings, both float32.

    The embedding is what the network sows as 'embedding', None where it sows nothing.

    Args:
      model: The network.
      variables: {'params', 'batch_stats'}.
      x: (segments, frequency, time) in the precision to compute in.
    """
    applied: Any = model.apply(variables, x, train=False, mutable=["intermediates"])
    logits, collected = applied
    sown = collected.get("intermediates", {}).get("embedding")
    embedding = None if sown is None else sown[0].astype(jnp.float32)
    return logits.astype(jnp.float32), embedding


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from (..., classes) logits, on the host."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
