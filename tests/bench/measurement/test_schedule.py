"""Which texts are measured when: every text alike, enough of them, and the same ones in every run."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd_bench.measurement.schedule import arrivals, passes, repeats


@pytest.mark.parametrize(("least", "number"), [(1, 1), (5, 1), (6, 2), (20, 4), (21, 5)])
def test_whole_passes(least: int, number: int) -> None:
    """Prevents a percentile in which the texts of an unfinished pass count once more than the others."""
    positions = np.asarray([3, 5, 8, 9, 11])
    entries = passes(positions, least, seed=0)
    assert len(entries) == 5 * number >= least
    assert sorted(entries.tolist()) == sorted(positions.tolist() * number)


def test_passes_are_shuffled_and_repeatable() -> None:
    """Prevents the file's order, often sorted by domain, from meeting the machine's slow minutes."""
    positions = np.arange(50)
    entries = passes(positions, 100, seed=0)
    assert entries.tolist() == passes(positions, 100, seed=0).tolist() != passes(positions, 100, seed=1).tolist()
    assert entries[:50].tolist() != entries[50:].tolist()
    assert entries[:50].tolist() != positions.tolist()


@pytest.mark.parametrize(
    ("milliseconds", "seconds", "number"), [(1.0, 0.0, 1), (1.0, 0.1, 1), (1.0, 0.15, 2), (20, 1, 1)]
)
def test_repeats_fill_the_seconds(milliseconds: float, seconds: float, number: int) -> None:
    """Prevents seconds taken for milliseconds: 100 entries of 1 ms are a tenth of a second."""
    assert repeats(milliseconds, 100, seconds) == number


def test_arrivals_are_a_poisson_process() -> None:
    """Prevents requests at equal distances, which never queue: the gaps' spread must be as large as their mean."""
    times = arrivals(200.0, 50.0, seed=0)
    gaps = np.diff(times, prepend=0.0)
    assert len(times) == 10_000
    assert gaps.min() > 0
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert times.tolist() == arrivals(200.0, 50.0, seed=0).tolist()
    assert len(arrivals(0.1, 1.0, seed=0)) == 1
