"""Which texts are measured in which order: pure functions of seed and numbers, so that two runs see the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def passes(positions: Ids, least: int, seed: int) -> Ids:
    """Return whole passes over the texts, each shuffled anew, until there are ``least`` entries or more.

    Whole passes, so that every text counts alike in a percentile.

    Args:
        positions: The texts, shape (n,).
        least: Fewest entries.
        seed: Of the shuffling.
    """
    generator = np.random.default_rng(seed)
    number = max(1, math.ceil(least / len(positions)))
    return np.concatenate([generator.permutation(positions) for _ in range(number)])


def repeats(milliseconds: float, entries: int, least_seconds: float) -> int:
    """Return how often a subject goes over all entries so that they take ``least_seconds`` together.

    Args:
        milliseconds: What one entry takes.
        entries: How many there are.
        least_seconds: Shortest time of the whole.
    """
    return max(1, math.ceil(1000 * least_seconds / (milliseconds * entries)))


def arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return when requests of a Poisson process are due, in seconds from the start: at least one.

    Args:
        rate: Requests per second.
        seconds: How long they go on.
        seed: Of the process.
    """
    generator = np.random.default_rng(seed)
    gaps = generator.exponential(1 / rate, max(1, math.ceil(rate * seconds)))
    return np.cumsum(gaps)
