"""Few-shot sampling: the right size, seeded, nested, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd.data.dataset import DomainDataset, Examples, Split
from hrkd.data.sampling import sample_training


def make_dataset(per_group: int = 40) -> DomainDataset:
    """Three domains and two labels, the third domain half as large."""
    groups = [(d, c, i) for d in range(3) for c in range(2) for i in range(per_group // (2 if d == 2 else 1))]
    examples = Examples(
        tuple(f"text {domain} {label} {number}" for domain, label, number in groups),
        None,
        np.array([label for _, label, _ in groups]),
        np.array([domain for domain, _, _ in groups]),
    )
    return DomainDataset(("a", "b", "c"), ("neg", "pos"), dict.fromkeys(Split, examples), "made")


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5])
def test_each_label_of_each_domain_keeps_its_fraction(fraction: float) -> None:
    """A sample over all texts would leave a small domain with nothing, or with one label."""
    dataset = make_dataset()
    sampled = sample_training(dataset, fraction, seed=0)
    for domain, size in enumerate((40, 40, 20)):
        for label in range(2):
            kept = np.sum((sampled.train.domains == domain) & (sampled.train.labels == label))
            assert kept == max(1, round(fraction * size))
    assert sampled.validation is dataset.validation
    assert sampled.test is dataset.test
    assert set(sampled.train.texts) <= set(dataset.train.texts)


def test_samples_are_seeded_and_nested() -> None:
    """Else a curve over fractions compares other texts, and seeds measure nothing."""
    dataset = make_dataset()
    small, again, large, other = (
        set(sample_training(dataset, fraction, seed).train.texts)
        for fraction, seed in ((0.1, 3), (0.1, 3), (0.5, 3), (0.1, 4))
    )
    assert small == again
    assert small < large
    assert small != other


def test_the_whole_is_the_whole() -> None:
    """A fraction of 1 must not even reorder the texts: runs with and without the key are the same run."""
    dataset = make_dataset()
    assert sample_training(dataset, 1.0, seed=5) is dataset
