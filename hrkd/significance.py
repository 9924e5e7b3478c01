"""Intervals and tests for few runs, and for answers that are right or wrong. numpy only: runs on the device.

All intervals are of 95 %, all tests two-sided.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hrkd.metrics import Interval

NORMAL_QUANTILE = 1.959964
"""97.5 % point of the standard normal distribution."""
_STUDENT_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
"""97.5 % points of Student's t for 1 to 9 degrees of freedom."""


def student_quantile(freedom: int) -> float:
    """Return the 97.5 % point of Student's t; beyond the table by its expansion in 1 / freedom (error below 1e-3)."""
    if freedom <= len(_STUDENT_QUANTILES):
        return _STUDENT_QUANTILES[freedom - 1]
    z = NORMAL_QUANTILE
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


def mean_interval(values: ArrayLike) -> Interval:
    """Return the mean of independent runs with Student's interval.

    Args:
        values: One number per run, at least two of them.

    Raises:
        ValueError: There are fewer than two: one run does not say how much runs differ.
    """
    runs = np.asarray(values, dtype=np.float64)
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run(s) do not say how much runs differ")
    half = student_quantile(len(runs) - 1) * float(runs.std(ddof=1)) / math.sqrt(len(runs))
    mean = float(runs.mean())
    return Interval(mean, mean - half, mean + half)


def geometric_mean_interval(values: ArrayLike) -> Interval:
    """Return :func:`mean_interval` on the logarithm: for ratios and times, where an error is a factor."""
    logarithm = mean_interval(np.log(np.asarray(values, dtype=np.float64)))
    return Interval(math.exp(logarithm.value), math.exp(logarithm.low), math.exp(logarithm.high))


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the interval of one proportion: unlike a bootstrap, it keeps its width when all answers are right."""
    share, spread = hits / trials, NORMAL_QUANTILE**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding can put a bound on the wrong side of a share of 0 or 1, and a figure cannot draw a negative length.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def paired_share_interval(gained: int, lost: int, trials: int) -> Interval:
    """Return the difference of two shares of right answers on the same texts.

    Half a text is added to each of the four cells (Agresti and Min, 2005), so that the interval keeps a width where
    both models answer alike.

    Args:
        gained: Texts that only the first model gets right.
        lost: Texts that only the second one gets right.
        trials: All texts.
    """
    value, size = (gained - lost) / trials, trials + 2
    centre = (gained - lost) / size
    half = NORMAL_QUANTILE * math.sqrt((gained + lost + 1) / size - centre**2) / math.sqrt(size)
    return Interval(value, max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def mcnemar_p(gained: int, lost: int) -> float:
    """Return McNemar's exact p value: how likely so uneven a split of the differing answers is between equal models.

    Args:
        gained: Texts that only the first model gets right.
        lost: Texts that only the second one gets right.
    """
    differing, term, tail = gained + lost, 1, 0
    for count in range(min(gained, lost) + 1):
        tail += term
        term = term * (differing - count) // (count + 1)
    return min(1.0, float(2 * tail / 2**differing))
