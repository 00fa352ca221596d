"""How segments come to the devices: they are there already, or chunk by chunk."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from glam_jax import input_pipeline, parallel, steps

INPUTS = ("auto", "resident", "stream")
RESIDENT_SHARE = 0.5  # of a device's memory, that `auto` gives to segments


def streams(mode: str, dataset: input_pipeline.Dataset) -> bool:
    """Whether a mode of INPUTS streams the segments of a data set."""
    too_large = dataset.features.nbytes > RESIDENT_SHARE * parallel.memory()
    return mode == "stream" or (mode == "auto" and too_large)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Segments on the devices, and a part of the indices that were asked for.

    Attributes:
      data: the segments.
      indices: of segments in `data`, for each place of the layout.
      start: the first row of the part.
      stop: the row after its last.
    """

    data: steps.Data
    indices: object
    start: int
    stop: int


class Resident:
    """All segments lie on every device."""

    shared = True

    def __init__(self, dataset: input_pipeline.Dataset, layout: parallel.Layout):
        self._layout = layout
        owner = dataset.utterance
        features = dataset.features.read_all()
        data = steps.Data(features, owner, dataset.labels[owner])
        self._data = layout.share(data)

    def chunks(
        self, indices: Sequence[np.ndarray], start: int, rows: int, distinct: int
    ) -> Iterator[Chunk]:
        """Yields everything at once; see `Stream.chunks`."""
        del start, rows, distinct
        yield Chunk(self._data, self._layout.feed(indices), 0, len(indices[0]))


class Stream:
    """Segments are read from the records a little before they are used."""

    shared = False

    def __init__(
        self, dataset: input_pipeline.Dataset, layout: parallel.Layout, workers: int
    ):
        self._dataset = dataset
        self._layout = layout
        self._workers = workers

    def chunks(
        self, indices: Sequence[np.ndarray], start: int, rows: int, distinct: int
    ) -> Iterator[Chunk]:
        """Yields what is asked for in parts, with the segments that each needs.

        Args:
          indices: for each of the layout's places, (n, ...) of segments; -1 for none.
          start: the first row to yield.
          rows: of a chunk; the last one is filled up with -1.
          distinct: segments in a row at most.
        """
        parts = [
            _Part.of([place[first : first + rows] for place in indices], rows, distinct)
            for first in range(start, len(indices[0]), rows)
        ]
        streamed = self._dataset.features.stream(
            [part.segments.ravel() for part in parts], self._workers
        )
        for first, part, features in zip(
            range(start, len(indices[0]), rows), parts, streamed, strict=True
        ):
            owner = self._dataset.utterance[part.segments]
            data = steps.Data(
                features.reshape(*part.segments.shape, *features.shape[1:]),
                owner,
                self._dataset.labels[owner],
            )
            each = [jax.tree.map(lambda x, k=k: x[k], data) for k in range(len(owner))]
            yield Chunk(
                self._layout.feed(each),
                self._layout.feed(part.indices),
                first,
                min(first + rows, len(indices[0])),
            )


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one chunk of a stream needs.

    Attributes:
      segments: (places, capacity) to read.
      indices: for each place, (rows, ...) of them.
    """

    segments: np.ndarray
    indices: list[np.ndarray]

    @classmethod
    def of(cls, wanted: list[np.ndarray], rows: int, distinct: int) -> "_Part":
        segments, indices = [], []
        for place in wanted:
            read, local = np.unique(place, return_inverse=True)
            local = np.where(place < 0, -1, local.reshape(place.shape))
            filled = np.full((rows, *place.shape[1:]), -1, np.int32)
            filled[: len(place)] = local
            indices.append(filled)
            segments.append(np.resize(np.maximum(read, 0), rows * distinct))
        return cls(np.stack(segments), indices)
