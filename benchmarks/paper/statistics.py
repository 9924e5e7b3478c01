"""Means, spreads, and intervals of the difference of two methods, from which test text was answered right.

Everything works on ``correct`` (S, n): whether the run of each seed gets each test text right. "Average" is the
unweighted mean over domains. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hrkd.metrics import Interval
from hrkd.significance import NORMAL_QUANTILE, student_quantile

RESAMPLES = 10_000

Correct = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What the interval of a difference says."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no significant difference"
    ONE_SEED = "one seed"


@dataclass(frozen=True, slots=True)
class Difference:
    """A method's average accuracy minus a baseline's.

    Attributes:
        interval: 95 %, over test texts and seeds; over test texts alone where there is one seed.
        texts_only: 95 %, over test texts alone: these very runs, on other texts.
        seeds: How many seeds both have.
        verdict: From ``interval``; one seed decides nothing.
    """

    interval: Interval
    texts_only: Interval
    seeds: int
    verdict: Verdict


def domain_means(correct: Correct, domains: NDArray[np.int64]) -> Floats:
    """Return the accuracy of each seed in each domain, (S, K), domains in the order of their ids."""
    return np.stack([correct[:, domains == domain].mean(axis=1) for domain in np.unique(domains)], axis=1)


def difference(
    method: Correct, baseline: Correct, domains: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare two methods by the same seeds on the same test texts.

    Two sources of chance are resampled with replacement, each in pairs of method and baseline: the test texts within
    each domain (averaged over the seeds), and the seeds (averaged over the texts). The two deviations are added.
    Drawing seeds and texts jointly would count the noise of a single text in a single run three times.

    A bootstrap over S seeds is too narrow: its variance is (S - 1) / S of what it should be, and its tails are the
    normal's. The deviation by seeds is widened by ``sqrt(S / (S - 1)) * t / z``, so that an interval in which seeds
    dominate is about Student's interval of S paired runs; where texts dominate it hardly changes.

    Args:
        method: Shape (S, n), one row per seed.
        baseline: Shape (S, n), the same seeds in the same order.
        domains: Domain id of each text, shape (n,).
        resamples: Number of bootstrap resamples.
        seed: Of the resampling.

    Raises:
        ValueError: The shapes do not belong together, or there is no seed.
    """
    if method.shape != baseline.shape or method.shape[1:] != domains.shape or not len(method):
        raise ValueError(f"shapes {method.shape}, {baseline.shape} and {domains.shape} do not belong together")
    generator = np.random.default_rng(seed)
    gain = method.astype(np.int64) - baseline.astype(np.int64)
    seeds = len(gain)
    by_text = np.mean(
        [_resample_texts(gain[:, domains == domain], resamples, generator) for domain in np.unique(domains)], axis=0
    )
    per_seed = (domain_means(method, domains) - domain_means(baseline, domains)).mean(axis=1)
    texts_only = _interval(per_seed.mean(), by_text)
    if seeds == 1:
        return Difference(texts_only, texts_only, seeds, Verdict.ONE_SEED)
    both = _interval(per_seed.mean(), by_text + _seed_deviations(per_seed, resamples, generator))
    return Difference(both, texts_only, seeds, verdict(both))


def verdict(interval: Interval) -> Verdict:
    """Say on which side of zero an interval lies."""
    if interval.low > 0:
        return Verdict.BETTER
    return Verdict.WORSE if interval.high < 0 else Verdict.SAME


def _resample_texts(gain: NDArray[np.int64], resamples: int, generator: np.random.Generator) -> Floats:
    """Return the mean gain of bootstrap resamples of one domain's texts, (resamples,).

    Args:
        gain: 1 where only the method is right, -1 where only the baseline is, shape (S, n).
        resamples: How many.
        generator: Source of the draws.

    How often each distinct sum over the seeds comes up is drawn, instead of each text: there are 2S + 1 sums at most.
    """
    distinct, counts = np.unique(gain.sum(axis=0), return_counts=True)
    size = gain.shape[1]
    drawn = generator.multinomial(size, counts / size, size=resamples)
    means: Floats = (drawn @ distinct) / (size * len(gain))
    return means


def _seed_deviations(per_seed: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Return how far the mean over resampled seeds lies from the mean, widened for few seeds, (resamples,)."""
    seeds = len(per_seed)
    weights = generator.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
    widening = np.sqrt(seeds / (seeds - 1)) * student_quantile(seeds - 1) / NORMAL_QUANTILE
    deviations: Floats = widening * (weights @ (per_seed - per_seed.mean()))
    return deviations


def _interval(value: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
