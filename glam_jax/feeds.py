"""How segments come to the devices: they are there already, or chunk by chunk."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Int

from glam_jax import input_pipeline, parallel, steps


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Segments on the devices, and a part of the indices that were asked for.

    Attributes:
      data: The segments.
      indices: Which segments of `data`, for each slot of the layout.
      start: The first row of the part.
      stop: The row after its last.
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
        data = steps.Data(features, owner, dataset.labels[owner]).tiled()
        del features  # those of sound are copied
        self._data = layout.share(data)

    def chunks(
        self,
        indices: Sequence[Int[np.ndarray, "rows ..."]],
        start: int,
        rows: int,
        distinct: int,
    ) -> Iterator[Chunk]:
        """Yields everything at once; see `Stream.chunks`."""
        del start, rows, distinct
        yield Chunk(self._data, self._layout.put(indices), 0, len(indices[0]))


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
        self,
        indices: Sequence[Int[np.ndarray, "rows ..."]],
        start: int,
        rows: int,
        distinct: int,
    ) -> Iterator[Chunk]:
        """Yields what is asked for in parts, with the segments that each needs.

        Args:
          indices: For each of the layout's slots, (n, ...) segments; -1 for none.
          start: The first row to yield.
          rows: Rows of a chunk; the last chunk is filled up with -1.
          distinct: Different segments in a row, at most.
        """
        parts = [
            _Part.of([slot[first : first + rows] for slot in indices], rows, distinct)
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
            ).tiled()
            each = [jax.tree.map(lambda x, k=k: x[k], data) for k in range(len(owner))]
            yield Chunk(
                self._layout.put(each),
                self._layout.put(part.indices),
                first,
                min(first + rows, len(indices[0])),
            )


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one chunk of a stream needs.

    Attributes:
      segments: (slots, capacity), the segments to read.
      indices: For each slot, (rows, ...) indices into its segments.
    """

    segments: np.ndarray
    indices: list[np.ndarray]

    @classmethod
    def of(cls, wanted: list[np.ndarray], rows: int, distinct: int) -> "_Part":
        segments, indices = [], []
        for slot in wanted:
            read, local = np.unique(slot, return_inverse=True)
            local = np.where(slot < 0, -1, local.reshape(slot.shape))
            filled = np.full((rows, *slot.shape[1:]), -1, np.int32)
            filled[: len(slot)] = local
            indices.append(filled)
            segments.append(np.resize(np.maximum(read, 0), rows * distinct))
        return cls(np.stack(segments), indices)


Feed = Resident | Stream


def create(
    dataset: input_pipeline.Dataset,
    layout: parallel.Layout,
    streams: bool,
    workers: int,
) -> Feed:
    """Brings the segments to the devices, or prepares to stream them.

    Args:
      dataset: The segments, in the records.
      layout: Where they are needed.
      streams: Whether they come while they are used.
      workers: Processes that read a stream; 0 for threads of this one.
    """
    if streams:
        return Stream(dataset, layout, workers)
    return Resident(dataset, layout)
