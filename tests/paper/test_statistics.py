"""The numbers behind every claim: means, and intervals that cover what they say they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper.statistics import Verdict, difference, domain_means, student_quantile

SEEDS = 5


def draw(generator: np.random.Generator, seeds: int, texts: int, seed_noise: float, text_noise: float) -> np.ndarray:
    """Return right or wrong (S, 2, n) of two equally good methods on texts of different difficulty.

    Args:
        generator: Source of the draws.
        seeds: S.
        texts: n.
        seed_noise: How much one run's quality differs from another's.
        text_noise: How much luck decides a single text in a single run.
    """
    difficulty = generator.normal(1.6, 1.5, texts)
    quality = generator.normal(0.0, seed_noise, (seeds, 2, 1))
    return difficulty + quality + generator.normal(0.0, text_noise, (seeds, 2, texts)) > 0


def coverage(seeds: int, seed_noise: float, text_noise: float, repeats: int = 300) -> float:
    """Return how often the interval of two equal methods holds zero."""
    generator = np.random.default_rng(1)
    domains = np.repeat(np.arange(3), 200)
    held = 0
    for _ in range(repeats):
        right = draw(generator, seeds, len(domains), seed_noise, text_noise)
        interval = difference(right[:, 0], right[:, 1], domains, resamples=500).interval
        held += interval.low <= 0.0 <= interval.high
    return held / repeats


@pytest.mark.parametrize(
    ("seeds", "seed_noise", "text_noise"),
    [
        (5, 0.5, 0.3),  # seeds dominate, as with little training data
        (3, 0.5, 0.3),
        (5, 0.05, 0.5),  # texts dominate, as with all of it
        (5, 0.0, 0.0),
    ],
)
def test_the_interval_covers(seeds: int, seed_noise: float, text_noise: float) -> None:
    """An interval that is too narrow for few seeds turns noise into a claim (a plain bootstrap covers 84 % at 5)."""
    assert coverage(seeds, seed_noise, text_noise) >= 0.925


def test_the_interval_is_not_needlessly_wide() -> None:
    """An interval that covers everything finds nothing."""
    assert coverage(5, 0.5, 0.3) <= 0.985


def test_intervals_over_texts_alone_do_not_cover_other_seeds() -> None:
    """Shows why the verdict needs seeds: the same runs on other texts are another question."""
    generator = np.random.default_rng(2)
    domains = np.repeat(np.arange(2), 300)
    found = [difference(*draw(generator, 3, 600, 0.5, 0.3).swapaxes(0, 1), domains, resamples=500) for _ in range(100)]
    narrow = np.mean([one.texts_only.low <= 0.0 <= one.texts_only.high for one in found])
    wide = np.mean([one.interval.low <= 0.0 <= one.interval.high for one in found])
    assert narrow < 0.6 < 0.9 < wide


@settings(max_examples=20, deadline=None)
@given(seeds=st.integers(1, 6), number=st.integers(0, 2**31))
def test_a_method_equals_itself(seeds: int, number: int) -> None:
    """A difference out of nothing would mean that seeds or texts are not paired."""
    right = np.random.default_rng(number).random((seeds, 60)) < 0.8
    found = difference(right, right, np.repeat([0, 1, 2], 20), resamples=200)
    assert (found.interval.value, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)
    assert found.verdict in (Verdict.SAME, Verdict.ONE_SEED)


def test_a_constant_gain_is_found_and_its_mirror_too() -> None:
    """A sign that is turned around would publish the opposite."""
    generator = np.random.default_rng(3)
    domains = np.repeat(np.arange(4), 500)
    baseline = np.tile(generator.random(2000) < 0.8, (SEEDS, 1))
    method = baseline | np.tile(generator.random(2000) < 0.2, (SEEDS, 1))
    found, mirrored = difference(method, baseline, domains), difference(baseline, method, domains)
    assert found.verdict is Verdict.BETTER
    assert mirrored.verdict is Verdict.WORSE
    assert found.interval.value == pytest.approx(method.mean() - baseline.mean())
    assert found.interval.low < found.interval.value < found.interval.high
    assert mirrored.interval.low == pytest.approx(-found.interval.high, abs=1e-3)


def test_every_domain_weighs_the_same() -> None:
    """A mean over texts would let the largest domain decide."""
    domains = np.array([0] * 90 + [1] * 10)
    method, baseline = np.zeros((2, 100), dtype=bool), np.zeros((2, 100), dtype=bool)
    method[:, 90:] = True
    assert domain_means(method, domains).tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert difference(method, baseline, domains).interval.value == 0.5


def test_seeds_are_paired() -> None:
    """Teachers and data samples go with the seed: unpaired, their spread would bury a gain that every seed shows."""
    generator = np.random.default_rng(4)
    domains = np.zeros(1000, dtype=np.int64)
    levels = np.array([0.55, 0.65, 0.75, 0.85, 0.95])[:, None]
    ease = generator.random(1000)
    baseline, method = ease < levels - 0.02, ease < levels
    assert difference(method, baseline, domains).verdict is Verdict.BETTER
    assert difference(method, baseline[::-1], domains).verdict is Verdict.SAME


def test_one_seed_decides_nothing() -> None:
    """A gain of one run may be the luck of its seed; it must not read as a finding."""
    method, baseline = np.ones((1, 100), dtype=bool), np.zeros((1, 100), dtype=bool)
    found = difference(method, baseline, np.zeros(100, dtype=np.int64))
    assert found.verdict is Verdict.ONE_SEED


def test_the_resampling_is_repeatable_and_depends_on_its_seed() -> None:
    """Tables that change by themselves cannot be compared with the committed ones."""
    right = draw(np.random.default_rng(5), 3, 300, 0.2, 0.5)
    domains = np.repeat(np.arange(3), 100)
    first, again, other = (difference(right[:, 0], right[:, 1], domains, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    """Broadcasting would compare three seeds with one."""
    right = np.ones((3, 10), dtype=bool)
    with pytest.raises(ValueError, match=r"\(3, 10\), \(1, 10\)"):
        difference(right, right[:1], np.zeros(10, dtype=np.int64))


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (4, 2.776), (10, 2.228), (15, 2.131), (30, 2.042)])
def test_students_quantiles(freedom: int, value: float) -> None:
    """A wrong quantile would make every interval wrong by the same factor, which nothing else shows."""
    assert student_quantile(freedom) == pytest.approx(value, abs=1.5e-3)
