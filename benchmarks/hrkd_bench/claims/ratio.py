"""How many times faster one subject is than another, and whether that may be said.

A text is compared with itself: both subjects answer it in neighbouring turns, and a slow moment of one of them spoils a
few of the ratios, which their median ignores, while in a median over texts of all lengths it would move the whole.

A bootstrap over texts alone is too narrow: two processes of the same program differ by where their memory lies. Here a
round is one observation: fresh processes of both subjects on the same texts, in turns. The logarithms of the rounds'
ratios have a mean and a spread, and Student's interval covers texts, processes and slow minutes alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hrkd.metrics import Interval
from hrkd.significance import geometric_mean_interval, mean_interval, student_quantile
from hrkd_bench.document.parts import Verdict
from hrkd_bench.measurement.samples import Milliseconds


def round_ratios(baseline: Sequence[Milliseconds], subject: Sequence[Milliseconds]) -> list[float]:
    """Return how many times faster the subject answers a text, the median over texts, round by round.

    Args:
        baseline: Latency of each text of each round.
        subject: Likewise, of the same texts in the same order.
    """
    return [float(np.median(slow / fast)) for slow, fast in zip(baseline, subject, strict=True)]


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of the rounds' ratios with its 95 % interval; two rounds at least."""
    return geometric_mean_interval(ratios)


def verdict(speedup: Interval, smallest_difference: float) -> Verdict:
    """Judge an interval of speed-ups.

    Args:
        speedup: Above 1 is faster.
        smallest_difference: Share of the latency that matters. The interval must lie beyond it as a whole, so that
            neither noise nor a true difference of a percent is made a finding.
    """
    if speedup.low > 1 / (1 - smallest_difference):
        return "FASTER"
    return "SLOWER" if speedup.high < 1 / (1 + smallest_difference) else "NOT SIGNIFICANT"


def ratio_of_groups(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """Return the ratio of two groups' geometric means with Welch's 95 % interval.

    Args:
        numerator: Times of one group, two at least.
        denominator: Times of the other, two at least.
    """
    groups = [np.log(np.asarray(group, dtype=np.float64)) for group in (numerator, denominator)]
    first, second = (mean_interval(group).value for group in groups)
    errors = [float(group.var(ddof=1)) / len(group) for group in groups]
    error = math.fsum(errors)
    weights = math.fsum(part**2 / (len(group) - 1) for part, group in zip(errors, groups, strict=True))
    freedom = max(1, int(error**2 / weights)) if weights > 0 else 1
    half = student_quantile(freedom) * math.sqrt(error)
    difference = first - second
    return Interval(math.exp(difference), math.exp(difference - half), math.exp(difference + half))
