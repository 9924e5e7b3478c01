"""Accuracy per domain, agreement, and the intervals that make a difference a claim. numpy only: runs on the device.

"Average" is the unweighted mean over domains, as the paper reports it; "worst" is the lowest domain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DomainScores:
    """One score per domain, all in 0..1."""

    domains: dict[str, float]

    @property
    def average(self) -> float:
        """Unweighted mean over domains."""
        return float(np.mean(list(self.domains.values())))

    @property
    def worst(self) -> float:
        """Score of the worst domain."""
        return min(self.domains.values())


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with its bootstrap interval."""

    value: float
    low: float
    high: float
    level: float = 0.95


def accuracy(predictions: ArrayLike, labels: ArrayLike, domains: ArrayLike, names: Sequence[str]) -> DomainScores:
    """Return the fraction of right predictions in each domain.

    Args:
        predictions: Predicted label ids, shape (n,).
        labels: True label ids, shape (n,).
        domains: Domain ids, shape (n,).
        names: Name of each domain id; a domain without examples is left out.
    """
    return _per_domain(np.asarray(predictions) == np.asarray(labels), np.asarray(domains), names)


def agreement(predictions: ArrayLike, reference: ArrayLike) -> float:
    """Return the fraction of examples on which two models predict the same label, shapes (n,)."""
    return float(np.mean(np.asarray(predictions) == np.asarray(reference)))


def macro_f1(predictions: ArrayLike, labels: ArrayLike, num_labels: int) -> float:
    """Return the unweighted mean of the labels' F1; a label that is neither present nor predicted is left out."""
    predicted, true = np.asarray(predictions), np.asarray(labels)
    scores = []
    for label in range(num_labels):
        hits = np.sum((predicted == label) & (true == label))
        relevant = np.sum(predicted == label) + np.sum(true == label)
        if relevant:
            scores.append(2.0 * hits / relevant)
    return float(np.mean(scores))


def macro_f1_by_domain(
    predictions: ArrayLike, labels: ArrayLike, domains: ArrayLike, names: Sequence[str], num_labels: int
) -> DomainScores:
    """Return :func:`macro_f1` within each domain."""
    predicted, true, domain_ids = np.asarray(predictions), np.asarray(labels), np.asarray(domains)
    chosen = {name: domain_ids == index for index, name in enumerate(names)}
    return DomainScores(
        {name: macro_f1(predicted[mask], true[mask], num_labels) for name, mask in chosen.items() if mask.any()}
    )


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """Return how far confidence and accuracy lie apart on average (Guo et al., 2017).

    Args:
        probabilities: Of each label, shape (n, C).
        labels: True label ids, shape (n,).
        bins: Equally wide ranges of confidence; the gaps of the ranges are weighted by their examples.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    confidence, correct = given.max(axis=1), given.argmax(axis=1) == np.asarray(labels)
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(given))


def average_accuracy_interval(correct: ArrayLike, domains: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the average accuracy with its 95 % interval, resampling examples within each domain."""
    return _stratified_bootstrap(np.asarray(correct, dtype=np.float64), np.asarray(domains), seed)


def paired_difference_interval(
    correct: ArrayLike, baseline_correct: ArrayLike, domains: ArrayLike, *, seed: int = 0
) -> Interval:
    """Return the difference in average accuracy of two models on the same examples, with its 95 % interval.

    The examples are resampled in pairs, so what both models get right or wrong does not widen the interval.
    """
    difference = np.asarray(correct, dtype=np.float64) - np.asarray(baseline_correct, dtype=np.float64)
    return _stratified_bootstrap(difference, np.asarray(domains), seed)


def bootstrap_interval(
    samples: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return ``statistic`` of the samples with its 95 % percentile interval.

    Args:
        samples: Shape (n, ...); rows are resampled together.
        statistic: Maps one resample of shape (n, ...) to a scalar array.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    rows = np.asarray(samples, dtype=np.float64)
    generator = np.random.default_rng(seed)
    draws = [float(statistic(rows[generator.integers(0, len(rows), len(rows))])) for _ in range(resamples)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(statistic(rows)), float(low), float(high))


def _per_domain(correct: Mask, domains: NDArray[np.int64], names: Sequence[str]) -> DomainScores:
    chosen = {name: domains == index for index, name in enumerate(names)}
    return DomainScores({name: float(np.mean(correct[mask])) for name, mask in chosen.items() if mask.any()})


def _stratified_bootstrap(
    values: NDArray[np.float64], domains: NDArray[np.int64], seed: int, resamples: int = 2000
) -> Interval:
    generator = np.random.default_rng(seed)
    groups = [values[domains == domain] for domain in np.unique(domains)]
    means = np.mean([_resampled_means(group, resamples, generator) for group in groups], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean([group.mean() for group in groups])), float(low), float(high))


def _resampled_means(
    values: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return the means of bootstrap resamples, (resamples,).

    Draws how often each distinct value comes up instead of each example: right and wrong are two values, however many
    examples there are, so the memory does not grow with the split.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = generator.multinomial(len(values), counts / len(values), size=resamples)
    means: NDArray[np.float64] = drawn @ distinct / len(values)
    return means
