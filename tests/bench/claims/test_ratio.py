"""When FASTER or SLOWER may be said, on made-up rounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd.metrics import Interval
from hrkd_bench.claims.latency import speedup_interval
from hrkd_bench.claims.ratio import ratio_interval, ratio_of_groups, round_ratios, verdict

ROUNDS = 8
TEXTS = 350
PROCESS_SPREAD = 0.02  # standard deviation of two processes' difference on a quiet machine


def made_up(
    generator: np.random.Generator, slowdown: float, rounds: int = ROUNDS, number: int = TEXTS
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return baseline and subject: texts of all lengths, noise of each answer, and a factor of each process."""
    pairs = []
    for _ in range(rounds):
        lengths = generator.lognormal(0, 0.5, number)
        factors = np.exp(generator.normal(0, PROCESS_SPREAD / np.sqrt(2), 2))
        noise = generator.lognormal(0, 0.03, (2, number))
        pairs.append((lengths * factors[0] * noise[0], lengths * factors[1] * slowdown * noise[1]))
    baseline, subject = zip(*pairs)
    return list(baseline), list(subject)


def verdicts(slowdown: float, tries: int = 100) -> list[str]:
    generator = np.random.default_rng(0)
    return [verdict(ratio_interval(round_ratios(*made_up(generator, slowdown))), 0.03) for _ in range(tries)]


def test_a_copy_is_not_significant_and_a_tenth_is_slower() -> None:
    """Prevents noise from being called a finding, and a real tenth from being called noise."""
    assert verdicts(1.0).count("NOT SIGNIFICANT") >= 98
    assert verdicts(1.1).count("SLOWER") >= 95
    assert verdicts(1 / 1.1).count("FASTER") >= 95


def test_texts_alone_claim_too_much() -> None:
    """Prevents a return to resampling texts: with few processes its interval misses the truth much too often."""
    generator = np.random.default_rng(1)
    tries = 24
    by_rounds = [ratio_interval(round_ratios(*made_up(generator, 1.0))) for _ in range(tries)]
    one_process = [made_up(generator, 1.0, rounds=1, number=2500) for _ in range(tries)]  # as many texts, as often done
    by_texts = [speedup_interval(baseline[0], subject[0]) for baseline, subject in one_process]
    covered = [sum(one.low <= 1.0 <= one.high for one in intervals) for intervals in (by_rounds, by_texts)]
    assert covered[0] >= tries - 4
    assert covered[1] <= tries // 2


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.04, 1.2, "FASTER"),
        (1.02, 1.2, "NOT SIGNIFICANT"),
        (1.005, 1.01, "NOT SIGNIFICANT"),
        (0.8, 0.96, "SLOWER"),
        (0.8, 0.98, "NOT SIGNIFICANT"),
        (0.99, 0.995, "NOT SIGNIFICANT"),
        (0.5, 2.0, "NOT SIGNIFICANT"),
    ],
)
def test_the_whole_interval_must_lie_beyond_what_matters(low: float, high: float, expected: str) -> None:
    """Prevents a certain difference of half a percent, or an uncertain one of ten, from being made a finding."""
    assert verdict(Interval((low * high) ** 0.5, low, high), 0.03) == expected


def test_rounds_are_compared_with_their_own_texts() -> None:
    """Prevents a round of long texts from counting as slow: both saw the same ones."""
    baseline = [np.full(9, 10.0), np.full(9, 40.0)]
    subject = [np.full(9, 5.0), np.full(9, 20.0)]
    assert round_ratios(baseline, subject) == [2.0, 2.0]
    interval = ratio_interval([2.0, 2.0])
    assert (interval.low, interval.value, interval.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_slow_moment_of_one_subject_does_not_move_the_ratio() -> None:
    """Prevents a neighbour's burst during one subject's turns from being read as a difference between the two."""
    generator = np.random.default_rng(0)
    baseline = generator.lognormal(0, 0.5, TEXTS)
    subject = baseline * generator.lognormal(0, 0.02, TEXTS)
    subject[: TEXTS // 5] *= 2
    assert abs(round_ratios([baseline], [subject])[0] - 1) < 0.01
    assert np.median(subject) > 1.05 * np.median(baseline)  # what a ratio of medians would have made of it


def test_groups_are_compared_by_welch() -> None:
    """Prevents an interval without a width from blocks that differ, and a ratio upside down."""
    generator = np.random.default_rng(0)
    first, steady = generator.lognormal(0, 0.02, 6), 1.3 * generator.lognormal(0, 0.02, 12)
    interval = ratio_of_groups(steady, first)
    assert interval.low < 1.3 < interval.high
    assert 0.02 < interval.high - interval.low < 0.2
    scipy = pytest.importorskip("scipy.stats")
    expected = scipy.ttest_ind(np.log(steady), np.log(first), equal_var=False).confidence_interval()
    assert np.log(interval.low) == pytest.approx(expected.low, abs=0.003)
    assert np.log(interval.high) == pytest.approx(expected.high, abs=0.003)
