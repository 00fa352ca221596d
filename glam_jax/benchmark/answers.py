"""How long a trained model takes to answer, as a workdir and as exported files."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from data_prep import features
from glam_jax.benchmark.rows import Row

_SECONDS = 3
_CALLS = 200


def rows(
    description: Mapping[str, Any],
    functions: Mapping[str, Callable[[np.ndarray], np.ndarray]],
) -> Iterator[Row]:
    """The latency of a clip of 3 s, and of a stream that is answered at every hop.

    Args:
      description: What model.json holds.
      functions: From a recording, (samples,), to probabilities, by what answers.
    """
    cut = description["features"]
    name, hop = description["model"], cut["hop"] / features.SAMPLE_RATE
    noise = np.random.default_rng(0).normal(0, 0.1, _SECONDS * features.SAMPLE_RATE)
    clip = noise.astype(np.float32)
    segment = np.resize(clip, cut["segment"])
    for what, function in functions.items():
        taken = _timed(function, clip)
        yield Row("local", name, what, "3 s clip", tuple(1000 * taken), "ms")
        taken = _timed(function, segment)
        yield Row("local", name, what, "stream", tuple(taken / hop), "of real time")


def _timed(function: Callable, wave: np.ndarray) -> np.ndarray:
    """(calls,) seconds of the processor, which other work on it does not lengthen."""
    function(wave)
    taken = []
    for _ in range(_CALLS):
        began = time.process_time()
        function(wave)
        taken.append(time.process_time() - began)
    return np.array(taken)
