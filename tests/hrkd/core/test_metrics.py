"""Metrics against slow loops and closed forms; intervals against what they promise."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrkd.metrics import (
    DomainScores,
    accuracy,
    agreement,
    average_accuracy_interval,
    bootstrap_interval,
    macro_f1,
    macro_f1_by_domain,
    paired_difference_interval,
)

NAMES = ("books", "films", "phones")
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)
"""(prediction, label, domain) of each example."""
NORMAL_QUANTILE = 1.96


def slow_macro_f1(pairs: list[tuple[int, int]], num_labels: int) -> float:
    """Macro F1 from precision and recall, by counting."""
    scores = []
    for label in range(num_labels):
        predicted = sum(guess == label for guess, _ in pairs)
        present = sum(truth == label for _, truth in pairs)
        hits = sum(guess == truth == label for guess, truth in pairs)
        if not predicted and not present:
            continue
        precision = hits / predicted if predicted else 0.0
        recall = hits / present if present else 0.0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return sum(scores) / len(scores)


@settings(deadline=None)
@given(rows=ROWS)
def test_scores_equal_slow_loops(rows: list[tuple[int, int, int]]) -> None:
    """A mask of the wrong domain or a mean over examples instead of domains is off by a plausible amount."""
    predictions, labels, domains = (list(column) for column in zip(*rows, strict=True))
    by_domain: dict[str, list[tuple[int, int]]] = {}
    for guess, truth, domain in rows:
        by_domain.setdefault(NAMES[domain], []).append((guess, truth))
    scores = accuracy(predictions, labels, domains, NAMES)
    f1 = macro_f1_by_domain(predictions, labels, domains, NAMES, 3)
    assert scores.domains.keys() == f1.domains.keys() == by_domain.keys()
    for name, pairs in by_domain.items():
        assert scores.domains[name] == pytest.approx(sum(guess == truth for guess, truth in pairs) / len(pairs))
        assert f1.domains[name] == pytest.approx(slow_macro_f1(pairs, 3))
    assert scores.average == pytest.approx(sum(scores.domains.values()) / len(by_domain))
    assert scores.worst == min(scores.domains.values())
    assert agreement(predictions, labels) == pytest.approx(sum(a == b for a, b, _ in rows) / len(rows))


def test_average_weighs_domains_equally() -> None:
    """The paper's average is over domains; over examples, the largest domain hides the worst."""
    scores = accuracy([1] * 99 + [0], [1] * 100, [0] * 99 + [1], NAMES)
    assert scores.average == 0.5
    assert scores.worst == 0.0


def test_a_domain_without_examples_is_left_out() -> None:
    """Counted as 0 it ruins the average; as NaN it spreads to it."""
    scores = accuracy([1, 0], [1, 1], [0, 2], NAMES)
    assert scores == DomainScores({"books": 1.0, "phones": 0.0})
    assert macro_f1_by_domain([1, 0], [1, 1], [0, 2], NAMES, 2).domains.keys() == {"books", "phones"}


def test_macro_f1_by_hand() -> None:
    """Micro F1, which equals the accuracy, would hide a label that is never found."""
    predictions, labels = [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1]
    # label 0: precision 4/5, recall 1, F1 8/9; label 1: precision 1, recall 1/2, F1 2/3
    assert macro_f1(predictions, labels, 2) == pytest.approx((8 / 9 + 2 / 3) / 2)
    assert macro_f1(predictions, labels, 3) == pytest.approx((8 / 9 + 2 / 3) / 2), "an absent label is left out"
    assert macro_f1([0, 0], [0, 1], 2) == pytest.approx((2 / 3 + 0) / 2), "a label that is never predicted counts 0"


def draw(seed: int, rates: tuple[float, ...], sizes: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return for every example whether it is right, and its domain."""
    generator = np.random.default_rng(seed)
    correct = np.concatenate([generator.random(size) < rate for rate, size in zip(rates, sizes, strict=True)])
    return correct, np.repeat(np.arange(len(sizes)), sizes)


class TestAverageInterval:
    def test_has_the_closed_form_of_a_stratified_mean(self) -> None:
        """Resampling over all examples instead of within domains, or std without the K, changes the width."""
        correct, domains = draw(0, (0.9, 0.6), (2000, 500))
        interval = average_accuracy_interval(correct, domains)
        means = [correct[domains == domain].mean() for domain in (0, 1)]
        variance = sum(mean * (1 - mean) / size for mean, size in zip(means, (2000, 500), strict=True)) / 2**2
        half = NORMAL_QUANTILE * math.sqrt(variance)
        assert interval.value == pytest.approx(np.mean(means))
        assert interval.low == pytest.approx(interval.value - half, abs=0.08 * half)
        assert interval.high == pytest.approx(interval.value + half, abs=0.08 * half)

    def test_covers_the_truth_as_often_as_it_says(self) -> None:
        """An interval that covers 80 % instead of 95 % turns noise into claims."""
        rates, sizes = (0.9, 0.7, 0.8), (150, 80, 200)
        intervals = [average_accuracy_interval(*draw(seed, rates, sizes), seed=seed) for seed in range(300)]
        covered = np.mean([interval.low <= np.mean(rates) <= interval.high for interval in intervals])
        assert 0.91 < covered < 0.985

    def test_order_of_examples_and_gaps_in_the_ids_do_not_matter(self) -> None:
        """Groups must follow the domain id, not the position."""
        correct, domains = draw(0, (0.9, 0.6), (60, 40))
        order = np.random.default_rng(1).permutation(len(domains))
        assert average_accuracy_interval(correct[order], 3 * domains[order]) == average_accuracy_interval(
            correct, domains
        )

    def test_is_reproducible_and_depends_on_the_seed(self) -> None:
        """A report that changes from run to run cannot be checked."""
        correct, domains = draw(0, (0.9, 0.6), (60, 40))
        assert average_accuracy_interval(correct, domains) == average_accuracy_interval(correct, domains)
        assert average_accuracy_interval(correct, domains, seed=1) != average_accuracy_interval(correct, domains)

    def test_is_a_point_where_nothing_varies(self) -> None:
        """All right is all right in every resample."""
        interval = average_accuracy_interval([True] * 30, [0] * 10 + [1] * 20)
        assert (interval.low, interval.value, interval.high) == (1.0, 1.0, 1.0)

    def test_a_large_split_needs_little_memory(self) -> None:
        """Resamples times examples is gigabytes for a real test split, and the device has few."""
        import tracemalloc

        correct, domains = draw(0, (0.9, 0.8), (100_000, 100_000))
        tracemalloc.start()
        average_accuracy_interval(correct, domains)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6


class TestPairedInterval:
    def test_is_narrower_where_the_models_agree(self) -> None:
        """Unpaired, a small real difference between two similar models drowns."""
        baseline, domains = draw(0, (0.85, 0.75), (400, 400))
        correct = baseline.copy()
        changed = np.random.default_rng(1).choice(len(correct), 20, replace=False)
        correct[changed] = ~correct[changed]
        paired = paired_difference_interval(correct, baseline, domains)
        alone = [average_accuracy_interval(model, domains) for model in (correct, baseline)]
        unpaired_width = math.hypot(*(interval.high - interval.low for interval in alone))
        assert paired.high - paired.low < 0.5 * unpaired_width
        assert paired.value == pytest.approx(alone[0].value - alone[1].value)

    def test_has_the_sign_of_the_first_model(self) -> None:
        """Reversed, the report calls the worse model better."""
        better, worse, domains = [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]
        assert paired_difference_interval(better, worse, domains).value == 0.5
        swapped = paired_difference_interval(worse, better, domains)
        assert swapped.value == -0.5
        assert swapped.low <= swapped.value <= swapped.high

    def test_equal_models_differ_by_exactly_nothing(self) -> None:
        """Independent resampling of the two would show a difference of a model to itself."""
        correct, domains = draw(0, (0.8, 0.6), (50, 50))
        interval = paired_difference_interval(correct, correct, domains)
        assert (interval.low, interval.value, interval.high) == (0.0, 0.0, 0.0)

    def test_covers_no_difference_as_often_as_it_says(self) -> None:
        """Two equally good models must come out as different in 5 % of the cases, not in 30 %."""
        covered = []
        for seed in range(300):
            generator = np.random.default_rng(seed)
            shared = generator.random(300) < 0.7
            models = [np.where(generator.random(300) < 0.2, generator.random(300) < 0.7, shared) for _ in range(2)]
            interval = paired_difference_interval(*models, np.repeat([0, 1, 2], 100), seed=seed)
            covered.append(interval.low <= 0.0 <= interval.high)
        assert 0.91 < np.mean(covered) < 0.99


class TestBootstrap:
    def test_has_the_closed_form_of_a_mean(self) -> None:
        """A wrong quantile or a resample of the wrong size is a wrong width."""
        samples = np.random.default_rng(0).normal(10.0, 2.0, 400)
        interval = bootstrap_interval(samples, np.mean, resamples=4000)
        half = NORMAL_QUANTILE * samples.std() / math.sqrt(len(samples))
        assert interval.value == pytest.approx(samples.mean())
        assert interval.low == pytest.approx(interval.value - half, abs=0.08 * half)
        assert interval.high == pytest.approx(interval.value + half, abs=0.08 * half)
        assert interval.level == 0.95

    def test_rows_stay_together(self) -> None:
        """Columns resampled apart lose the pairing, and a ratio of two timings becomes noise."""
        slow = np.random.default_rng(0).lognormal(0.0, 1.0, 200)
        interval = bootstrap_interval(
            np.stack([slow, slow / 2], axis=1), lambda rows: rows[:, 0].sum() / rows[:, 1].sum(), resamples=200
        )
        assert (interval.low, interval.high) == pytest.approx((2.0, 2.0))

    def test_each_row_is_as_likely_as_any_other(self) -> None:
        """An index range that is one short never draws the last row."""
        drawn: Counter[float] = Counter()

        def count(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            drawn.update(rows.tolist())
            return rows.mean()

        bootstrap_interval(np.arange(10.0), count, resamples=2000)
        assert set(drawn) == set(np.arange(10.0))
        assert max(drawn.values()) < 1.15 * min(drawn.values())
