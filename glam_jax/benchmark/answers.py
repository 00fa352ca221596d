"""How long a trained model takes to answer, itself and as exported graphs."""

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from data_prep import features
from glam_jax.benchmark.rows import Row
from glam_jax.recognizer import Recognizer

_SECONDS = 3
_CALLS = 200


def rows(
    trained: Recognizer, graphs: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> Iterator[Row]:
    """The time for a clip of 3 s, and for a stream that is answered at every hop.

    Args:
      trained: The trained model.
      graphs: From a recording, (samples,), to probabilities, by format. They answer a
        stream by its newest segment.
    """
    cut = trained.description["features"]
    noise = np.random.default_rng(0).normal(0, 0.1, _SECONDS * features.SAMPLE_RATE)
    clip = noise.astype(np.float32)
    segment, hop = np.resize(clip, cut["segment"]), np.resize(clip, cut["hop"])
    stream = trained.stream()
    stream.feed(segment)
    cases = [(name, graph, clip, segment, graph) for name, graph in graphs.items()]
    cases += [("Recognizer", trained.probabilities, clip, hop, stream.feed)]
    for name, of_clip, clip, newest, of_newest in cases:
        model = trained.description["model"]
        taken = 1000 * _timed(of_clip, clip)
        yield Row("local", model, name, "3 s clip", tuple(taken), "ms")
        taken = _timed(of_newest, newest) * features.SAMPLE_RATE / cut["hop"]
        yield Row("local", model, name, "stream", tuple(taken), "of real time")


def _timed(function: Callable, wave: np.ndarray) -> np.ndarray:
    """(calls,) seconds of the processor, which other work on it does not lengthen."""
    function(wave)
    taken = []
    for _ in range(_CALLS):
        began = time.process_time()
        function(wave)
        taken.append(time.process_time() - began)
    return np.array(taken)
