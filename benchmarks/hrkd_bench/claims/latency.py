"""What may be said about a latency from its samples, and about the ratio of two subjects' latencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hrkd.metrics import Interval, bootstrap_interval

FEWEST_SAMPLES = {"p90": 64, "p95": 130, "p99": 662}
"""Fewest samples for each percentile: MLPerf's early-stopping rule at 99 % confidence."""


def percentiles(samples: ArrayLike) -> dict[str, float | int | None]:
    """Return p50, p90, p95, p99 (None where there are too few samples for them), mean, max and n."""
    values = np.asarray(samples, dtype=np.float64)
    summary: dict[str, float | int | None] = {"p50": _rounded(np.quantile(values, 0.5))}
    for name, fewest in FEWEST_SAMPLES.items():
        enough = len(values) >= fewest
        summary[name] = _rounded(np.quantile(values, int(name[1:]) / 100)) if enough else None
    return summary | {"mean": _rounded(values.mean()), "max": _rounded(values.max()), "n": len(values)}


def speedup_interval(baseline: ArrayLike, subject: ArrayLike) -> Interval:
    """Return how many times faster the subject answers a text, the median over texts, with its 95 % interval.

    Args:
        baseline: Latencies (n,).
        subject: Latencies (n,) of the same texts; texts are what is resampled.
    """
    ratios = np.asarray(baseline, dtype=np.float64) / np.asarray(subject, dtype=np.float64)
    return bootstrap_interval(ratios, lambda resampled: np.asarray(np.median(resampled)))


def _rounded(milliseconds: float | np.floating) -> float:
    """Round to a tenth of a microsecond: the clock's own calls take as long."""
    return round(float(milliseconds), 4)
