"""What is said about latencies, on samples whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd.significance import wilson_interval
from hrkd_bench.claims.latency import percentiles, speedup_interval


@pytest.mark.parametrize(
    ("n", "available"),
    [
        (1, set()),
        (63, set()),
        (64, {"p90"}),
        (129, {"p90"}),
        (130, {"p90", "p95"}),
        (661, {"p90", "p95"}),
        (662, {"p90", "p95", "p99"}),
    ],
)
def test_percentiles_need_enough_samples(n: int, available: set[str]) -> None:
    """Prevents a p99 that is really the maximum of a handful of texts."""
    summary = percentiles(np.ones(n))
    assert {name for name in ("p90", "p95", "p99") if summary[name] is not None} == available
    assert summary["p50"] == 1.0
    assert summary["n"] == n


def test_percentiles_of_known_samples() -> None:
    """Prevents percentiles that are shifted or of the unsorted samples."""
    samples = np.random.default_rng(0).permutation(np.arange(1001.0))
    summary = percentiles(samples)
    assert (summary["p50"], summary["p90"], summary["p95"], summary["p99"]) == (500.0, 900.0, 950.0, 990.0)
    assert (summary["mean"], summary["max"]) == (500.0, 1000.0)


def test_speedup_is_baseline_over_subject() -> None:
    """Prevents an inverted ratio, which would turn a slower student into a faster one."""
    lengths = np.random.default_rng(0).uniform(1.0, 9.0, 400)
    interval = speedup_interval(4.0 * lengths, lengths)
    assert interval.value == pytest.approx(4.0)
    # Both see the same resampled texts, so a constant ratio has no uncertainty however much the lengths vary.
    assert (interval.low, interval.high) == (pytest.approx(4.0), pytest.approx(4.0))


def test_speedup_interval_holds_the_ratio_and_has_a_width() -> None:
    """Prevents an interval that claims certainty for noisy times."""
    generator = np.random.default_rng(1)
    baseline, subject = generator.lognormal(1.0, 0.3, 300), generator.lognormal(0.0, 0.3, 300)
    interval = speedup_interval(baseline, subject)
    assert interval.low < np.e < interval.high
    assert interval.high - interval.low > 0.1


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Known values of the score interval, rounded to three digits.
    [(10, 10, 0.722, 1.0), (0, 10, 0.0, 0.278), (50, 100, 0.404, 0.596), (1, 1, 0.207, 1.0)],
)
def test_wilson_interval(hits: int, trials: int, low: float, high: float) -> None:
    """Prevents an interval of width zero for a domain in which all of ten answers were right."""
    assert wilson_interval(hits, trials) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
