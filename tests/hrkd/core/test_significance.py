"""Intervals and tests against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd.metrics import expected_calibration_error
from hrkd.significance import (
    geometric_mean_interval,
    mcnemar_p,
    mean_interval,
    paired_share_interval,
    student_quantile,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 9), (9, 3), (25, 25), (12, 32), (700, 800), (0, 60)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    """Prevents the chi-square approximation, which is wrong for the handful of texts that differ in a domain."""
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0 if gained + lost == 0 else stats.binomtest(gained, gained + lost).pvalue
    assert mcnemar_p(gained, lost) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("runs", [2, 3, 5, 8, 10, 30])
def test_the_interval_of_a_mean_is_students(runs: int) -> None:
    """Prevents the normal quantile, whose interval for five rounds is a third too narrow."""
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(runs).normal(3, 1, runs)
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, runs - 1, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=2e-3)
    assert interval.value == pytest.approx(values.mean())
    assert student_quantile(runs - 1) == pytest.approx(stats.t.ppf(0.975, runs - 1), abs=2e-3)


def test_one_run_has_no_interval() -> None:
    """Prevents a width of zero, or NaN, from a single run."""
    with pytest.raises(ValueError, match="1 run"):
        mean_interval([1.0])


def test_ratios_are_averaged_as_factors() -> None:
    """Prevents 2 and 1/2 from being 1.25 on average."""
    interval = geometric_mean_interval([2.0, 0.5])
    assert interval.value == pytest.approx(1.0)
    assert interval.low * interval.high == pytest.approx(1.0)


def test_equal_answers_keep_a_width() -> None:
    """Prevents certainty about a domain of ten texts in which both models happen to be right."""
    interval = paired_share_interval(0, 0, 10)
    assert interval.low < interval.value == 0.0 < interval.high
    assert interval.high == pytest.approx(-interval.low) == pytest.approx(0.1633, abs=1e-3)


def test_the_difference_of_shares_covers_the_truth() -> None:
    """Prevents an interval that is too narrow for the few texts that differ."""
    generator = np.random.default_rng(0)
    gained, lost, _ = generator.multinomial(100, [0.03, 0.08, 0.89], size=2000).T
    intervals = [paired_share_interval(int(g), int(v), 100) for g, v in zip(gained, lost)]
    covered = np.mean([interval.low <= -0.05 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.99
    assert intervals[0].value == (gained[0] - lost[0]) / 100
    assert paired_share_interval(20, 0, 20).high == 1.0


def test_calibration_error_by_hand() -> None:
    """Prevents an error that cancels: one range too sure and one not sure enough are two errors."""
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    labels = [0, 1, 1, 1]  # 0.9 sure and half right; 0.6 sure and always right
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert expected_calibration_error([[1.0, 0.0]], [0]) == 0.0
