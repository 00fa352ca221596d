"""Named streams of random numbers, each a function of a seed."""

import zlib

import numpy as np


def stream(seed: int, name: str, epoch: int = 0) -> np.random.Generator:
    """A generator that always draws the same for the same arguments.

    Args:
      seed: The seed of a run.
      name: What is drawn: 'order', 'partners', ...; streams do not resemble each other.
      epoch: The epoch, counted from 0.
    """
    return np.random.default_rng((seed, number(name), epoch))


def number(name: str) -> int:
    """A number of 31 bits for a name, to fold into a seed or a JAX key."""
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
