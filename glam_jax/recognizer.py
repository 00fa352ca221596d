"""A trained model as a thing: `load` opens it, a `Recognizer` answers for waveforms."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data_prep import audio, features, paths
from glam_jax import models, parallel, weights

BATCH_SIZE = 8  # segments at once: one compilation serves recordings of any length


def load(path: str | pathlib.Path, run: int | str = 0) -> "Recognizer":
    """Opens a trained model, by its weights and model.json alone.

    Compiled programs are kept in the user's cache folder, as in training.

    Args:
      path: The folder of a training, or one made by `torch_weights.write_folder`.
      run: The number of a run, or 'all' for the mean probability of all runs.

    Returns:
      A recognizer of the epoch that the training reports.

    Raises:
      ValueError: When there is no such model or run; it says what to do.
    """
    folder = paths.local(path, "the folder")
    description = weights.read(folder)
    found = {str(chosen["run"]): chosen for chosen in description["runs"]}
    if run != "all" and str(run) not in found:
        raise ValueError(
            f"{folder} has no finished run {run}; finished are "
            f"{', '.join(found) or 'none'}. The command of the training goes on with it"
        )
    parallel.use_compilation_cache()
    classes, shape = description["classes"], tuple(description["features"]["shape"])
    model = models.create_model(description["model"], len(classes))
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
    converted. What is shorter than a segment is repeated until it fills one.

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
        logits, _ = self._outputs(self._segments(wave, rate)[0])
        return softmax(logits.mean(axis=1)).mean(axis=0)

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
        segments, length = self._segments(wave, rate)
        logits, _ = self._outputs(segments)
        cut = self.description["features"]
        starts = np.arange(len(segments)) * cut["hop"]
        ends = np.minimum(starts + cut["segment"], length)
        times = np.stack([starts, ends], axis=1) / features.SAMPLE_RATE
        return times, softmax(logits).mean(axis=0)

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
        _, embedded = self._outputs(self._segments(wave, rate)[0])
        if embedded is None:
            raise ValueError(
                f"{self.description['model']} names no embedding: let it call "
                'self.sow("intermediates", "embedding", x)'
            )
        return embedded[0].mean(axis=0)

    def _segments(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """(n, samples) segments of a recording, and its samples at 16 kHz."""
        sound = audio.from_samples(wave, rate).wave
        cut = self.description["features"]
        return features.segment(sound, cut["segment"], cut["hop"]), len(sound)

    def _outputs(self, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(runs, n, classes) logits, and (runs, n, features) embeddings if any."""
        cut = self.description["features"]
        logits, embeddings = [], []
        for start in range(0, len(segments), BATCH_SIZE):
            batch = segments[start : start + BATCH_SIZE]
            x = features.extract(cut["kind"], batch, cut["pad_mode"])
            x = np.resize(x, (BATCH_SIZE, *x.shape[1:]))  # the last one is filled up
            x = jax.numpy.asarray(x, self.description["dtype"])
            # On the host before it is cut: JAX would compile for each number of rows.
            outputs = [jax.device_get(self._apply(v, x)) for v in self.variables]
            logits.append(np.stack([of_run[0] for of_run in outputs])[:, : len(batch)])
            if outputs[0][1] is not None:
                of_batch = np.stack([of_run[1] for of_run in outputs])
                embeddings.append(of_batch[:, : len(batch)])
        joined = np.concatenate(embeddings, axis=1) if embeddings else None
        return np.concatenate(logits, axis=1), joined


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
