"""How sure a claim about latencies and accuracies is: rules and intervals on samples whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hrkd.significance import wilson_interval
from hrkd_bench.claims.latency import FEWEST_SAMPLES, percentiles, speedup_interval
from hrkd_bench.claims.words import comparison_sentence, missing_percentiles
from hrkd_bench.document.schema import Comparison, Estimate, Percentiles


@pytest.mark.parametrize("name", ["p90", "p95", "p99"])
def test_fewest_samples_follow_the_early_stopping_rule(name: str) -> None:
    """Prevents limits that somebody rounded: 99 % confidence that at most the share lies above, one sample may."""

    def confidence(count: int) -> float:
        below = int(name[1:]) / 100
        return 1 - below**count - count * (1 - below) * below ** (count - 1)

    assert confidence(FEWEST_SAMPLES[name]) >= 0.99 > confidence(FEWEST_SAMPLES[name] - 1)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (700, ""),
        (300, "p99 needs at least 662 answers, here are 300"),
        (100, "p95 and p99 need at least 130 and 662 answers, here are 100"),
        (40, "p90, p95 and p99 need at least 64, 130 and 662 answers, here are 40"),
    ],
)
def test_missing_percentiles_say_what_they_need(count: int, sentence: str) -> None:
    """Prevents an "n/a" whose reader does not know how many more texts to measure."""
    assert missing_percentiles(Percentiles.model_validate(percentiles(np.ones(count)))) == sentence


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (1.10, 0.80, 1.50, "no significant difference in speed (0.80 to 1.50x)"),
        (0.90, 0.70, 1.00, "no significant difference in speed (0.70 to 1.00x)"),
        (1.04, 1.03, 1.06, "no significant difference in speed (1.03 to 1.06x)"),
        (1.30, 1.10, 1.50, "1.3x faster (1.10 to 1.5)"),
    ],
)
def test_one_round_claims_no_more_than_its_interval(value: float, low: float, high: float, words: str) -> None:
    """Prevents "1.10x faster (0.80 to 1.5)": the interval says that it may as well be slower."""
    result: Any = SimpleNamespace(name="model", engine="onnxruntime", precision="fp32", role="student")
    unchanged: dict[str, Any] = {"subject": "model", "baseline": "model", "size_ratio": 1.0, "agreement": 1.0}
    comparison = Comparison(
        speedup_p50=Estimate(value=value, low=low, high=high),
        accuracy_difference=Estimate(value=0.0, low=0.0, high=0.0),
        retained_accuracy=None,
        **unchanged,
    )
    document: Any = SimpleNamespace(result=lambda name: result)
    assert f", {words} text by text" in comparison_sentence(document, comparison)


def test_identical_samples_are_equally_fast() -> None:
    """Prevents an interval that resamples the two subjects apart: the lengths of the texts would widen it."""
    samples = np.random.default_rng(0).lognormal(0, 1, 300)
    interval = speedup_interval(samples, samples)
    assert (interval.low, interval.value, interval.high) == (1.0, 1.0, 1.0)


def test_a_copy_of_half_the_speed_is_twice_as_slow() -> None:
    """Prevents a ratio upside down, and an interval without the truth in it."""
    generator = np.random.default_rng(1)
    subject = generator.lognormal(0, 1, 300)
    baseline = 2 * subject * generator.normal(1, 0.02, 300)
    faster, slower = speedup_interval(baseline, subject), speedup_interval(subject, baseline)
    assert faster.low < 2 < faster.high
    assert faster.value == pytest.approx(2, rel=0.03)
    assert faster.high - faster.low < 0.2
    assert slower.low < 0.5 < slower.high


def test_speedup_interval_widens_with_the_noise() -> None:
    """Prevents an interval of a fixed width, which would call noise a difference."""
    generator = np.random.default_rng(2)
    quiet, noisy = (
        speedup_interval(generator.lognormal(0, spread, 200), generator.lognormal(0, spread, 200))
        for spread in (0.05, 0.5)
    )
    assert noisy.low < 1 < noisy.high
    assert noisy.high - noisy.low > 4 * (quiet.high - quiet.low)


def test_wilson_interval_holds_its_share() -> None:
    """Prevents a bound below a share of 1 by rounding (the report's error bars refuse negative lengths)."""
    for trials in range(1, 200):
        for hits in (0, trials // 2, trials):
            low, high = wilson_interval(hits, trials)
            assert 0 <= low <= hits / trials <= high <= 1
            assert high - low > 0.01
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
