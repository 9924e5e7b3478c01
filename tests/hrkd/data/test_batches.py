"""Domain-balanced batches as a pure function of seed and step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkd.data.batches import WINDOW_STEPS, DomainBatches
from hrkd.data.dataset import Examples


def make(sizes: list[int], batch_size: int, seed: int = 0, *, equal_lengths: bool = False) -> DomainBatches:
    """Return batches over domains of the given sizes, examples interleaved, lengths random."""
    domains = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    examples = Examples(("x",) * len(domains), None, np.zeros_like(domains), domains)
    lengths = np.random.default_rng(2).integers(1, 100, len(domains))
    return DomainBatches(examples, np.ones_like(lengths) if equal_lengths else lengths, batch_size, len(sizes), seed)


def domains_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))


shapes = st.tuples(st.lists(st.integers(1, 80), min_size=1, max_size=4), st.integers(1, 7), st.integers(0, 2**31 - 1))


@settings(max_examples=40, deadline=None)
@given(shapes, st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_a_step_depends_on_seed_and_step_only(shape: tuple[list[int], int, int], steps: list[int]) -> None:
    """Silent failure: a resumed run sees other batches than an undisturbed one."""
    walked = make(*shape)
    expected = {step: walked.indices(step) for step in range(max(steps) + 1)}
    jumping = make(*shape)
    for step in steps:
        np.testing.assert_array_equal(jumping.indices(step), expected[step])
        np.testing.assert_array_equal(make(*shape).indices(step), expected[step])


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 100))
def test_every_step_has_the_same_number_of_each_domain(shape: tuple[list[int], int, int], step: int) -> None:
    """Silent failure: rows of one domain under the head and ratio of another."""
    sizes, batch_size, _ = shape
    indices = make(*shape).indices(step)
    assert indices.shape == (len(sizes) * batch_size,)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(domains_of(sizes)[indices], np.repeat(np.arange(len(sizes)), batch_size))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 3))
def test_every_example_is_seen_equally_often(shape: tuple[list[int], int, int], windows: int) -> None:
    """Silent failure: examples that are never trained on; sampling with replacement; wrapping that skips a rest."""
    sizes, batch_size, _ = shape
    batches = make(*shape)
    steps = range(windows * WINDOW_STEPS)
    drawn = np.stack([batches.indices(step) for step in steps]).reshape(len(steps), len(sizes), batch_size)
    for domain, size in enumerate(sizes):
        counts = Counter(drawn[:, domain].ravel().tolist())
        total = len(steps) * batch_size
        assert set(counts.values()) <= {total // size, -(-total // size)}
        assert len(counts) == min(size, total)


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_batches_are_not_copies_of_few_examples(shape: tuple[list[int], int, int]) -> None:
    """Silent failure: sorting a small domain's many passes by length fills a batch with copies of one example."""
    sizes, batch_size, _ = shape
    batches = make(*shape)
    for step in range(WINDOW_STEPS):
        for domain, part in enumerate(np.split(batches.indices(step), len(sizes))):
            most = max(Counter(part.tolist()).values())
            # one more than the unavoidable: a batch may straddle two passes
            assert most <= -(-batch_size // sizes[domain]) + 1


def test_domains_have_similar_length_ranks_in_a_step() -> None:
    """Silent failure: short texts of one domain padded to the long ones of another; the buckets save nothing."""
    sizes, batch_size = [3000, 2500, 2000], 16
    batches = make(sizes, batch_size)
    lengths = np.random.default_rng(2).integers(1, 100, sum(sizes))
    bucketed = [lengths[batches.indices(step)] for step in range(WINDOW_STEPS)]
    waste = sum(part.max() * len(part) for part in bucketed) / sum(part.sum() for part in bucketed)
    shuffled = np.random.default_rng(3).permutation(lengths)[: len(bucketed) * 48].reshape(-1, 48)
    assert waste < 1.15
    assert (shuffled.max(axis=1) * 48).sum() / shuffled.sum() > 1.7


def test_a_tiny_domain_keeps_the_buckets_of_the_large_ones() -> None:
    """Silent failure: one small domain switches length bucketing off for all."""
    sizes = [3000, 20]
    batches, lengths = make(sizes, 16), np.random.default_rng(2).integers(1, 100, 3020)
    spread = [np.ptp(lengths[batches.indices(step)[:16]]) for step in range(WINDOW_STEPS)]
    assert np.mean(spread) < 15


def test_order_within_an_epoch_is_shuffled() -> None:
    """Silent failure: steps go from short to long texts, a curriculum that nobody asked for."""
    batches, lengths = make([2000], 16), np.random.default_rng(2).integers(1, 100, 2000)
    means = np.asarray([lengths[batches.indices(step)].mean() for step in range(WINDOW_STEPS)])
    assert abs(np.corrcoef(np.arange(WINDOW_STEPS), means)[0, 1]) < 0.6


def test_passes_windows_domains_and_seeds_differ() -> None:
    """Silent failure: the same shuffle in every pass, domain or seed."""
    batches = make([WINDOW_STEPS * 4] * 2, 4, equal_lengths=True)
    first = np.stack([batches.indices(step) for step in range(WINDOW_STEPS)])
    second = np.stack([batches.indices(step) for step in range(WINDOW_STEPS, 2 * WINDOW_STEPS)])
    assert not np.array_equal(first, second)
    assert set(first[:, :4].ravel()) == set(second[:, :4].ravel())
    members = [np.flatnonzero(domains_of([128, 128]) == domain) for domain in range(2)]
    positions = [np.searchsorted(members[domain], first[:, domain * 4 : domain * 4 + 4]) for domain in range(2)]
    assert not np.array_equal(*positions)
    assert not np.array_equal(first[0], make([128] * 2, 4, seed=1, equal_lengths=True).indices(0))


def test_a_pass_is_shuffled_once_and_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent failure: millions of rows are shuffled anew for every window; or a window takes another stretch."""
    sizes, batch_size, windows, drawn = [900, 50], 4, 5, Counter[tuple[int, ...]]()
    real = np.random.default_rng

    def counted(key: list[int]) -> np.random.Generator:
        drawn[tuple(key)] += 1
        return real(key)

    batches = make(sizes, batch_size, seed=7)
    monkeypatch.setattr("hrkd.data.batches.np.random.default_rng", counted)
    seen = np.stack([batches.indices(step) for step in range(windows * WINDOW_STEPS)])
    assert set(drawn.values()) == {1}
    monkeypatch.undo()
    for domain in range(2):
        members = np.flatnonzero(domains_of(sizes) == domain)
        passes = [real([7, 0, domain, number]).permutation(members) for number in range(13)]
        expected = np.concatenate(passes)[: windows * WINDOW_STEPS * batch_size].reshape(windows, -1)
        found = seen[:, domain * batch_size : (domain + 1) * batch_size].reshape(windows, -1)
        np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_steps_per_epoch_rounds_up() -> None:
    """Silent failure: the last examples of an epoch are never seen."""
    assert make([10, 11], 4).steps_per_epoch == 3
    assert make([8, 8], 4).steps_per_epoch == 2


def test_changing_a_returned_batch_changes_nothing() -> None:
    """Silent failure: a caller that shuffles its batch in place alters the cached window."""
    batches = make([50], 4)
    before = batches.indices(0).copy()
    batches.indices(0)[:] = -1
    np.testing.assert_array_equal(batches.indices(0), before)


def test_impossible_requests_are_refused() -> None:
    """Silent failure: an empty domain loops for ever, or lengths of another split are used."""
    examples = Examples(("x",) * 3, None, np.zeros(3, np.int64), np.asarray([0, 0, 2]))
    with pytest.raises(ValueError, match=r"domains \[1\] have no examples"):
        DomainBatches(examples, np.ones(3, np.int64), 2, 3, 0)
    with pytest.raises(ValueError, match="2 lengths for 3 examples"):
        DomainBatches(examples, np.ones(2, np.int64), 2, 3, 0)
    with pytest.raises(ValueError, match="must be at least 1"):
        DomainBatches(examples, np.ones(3, np.int64), 0, 3, 0)
    with pytest.raises(ValueError, match="step -1"):
        make([3], 2).indices(-1)
