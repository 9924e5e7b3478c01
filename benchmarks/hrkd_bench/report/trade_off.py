"""The report's figure of what is traded: time against the worst domain's accuracy, area for size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hrkd.pareto import on_front
from hrkd_bench.claims.words import milliseconds, percent, size, subject_label
from hrkd_bench.document.schema import Result
from hrkd_bench.report.drawing import (
    INK,
    LONGEST_LABEL,
    MARKERS,
    SERIES,
    legend_above,
    new_axes,
    pick,
    plain_log_ticks,
    shortened,
    to_svg,
)

_SMALLEST, _LARGEST = 30.0, 420.0  # areas in square points


def latency_name(results: Sequence[Result]) -> str:
    """Return the highest percentile, up to p95, that every result has enough samples for."""
    return "p95" if all(result.latency_ms.end_to_end.p95 is not None for result in results) else "p50"


def trade_off_figure(results: Sequence[Result]) -> str:
    """Draw one marker per subject; those that no other one beats in time, size and worst domain are joined."""
    name = latency_name(results)
    times = [float(getattr(result.latency_ms.end_to_end, name)) for result in results]
    worst = [100 * result.accuracy.worst for result in results]
    sizes = np.asarray([result.size_bytes for result in results], dtype=float)
    areas = _SMALLEST + (_LARGEST - _SMALLEST) * sizes / sizes.max()
    front = front_of(results)
    with new_axes("trade-off", 2.6 + 0.2 * len(results)) as (figure, axes):
        joined = sorted((time, accuracy) for time, accuracy, kept in zip(times, worst, front, strict=True) if kept)
        axes.plot(*zip(*joined, strict=True), linestyle=":", color=INK, linewidth=1, zorder=1)
        for number, result in enumerate(results):
            low, high = result.accuracy.domain_intervals[result.accuracy.worst_domain]
            # Intervals keep the axis honest: without them a tenth of a point would fill it.
            axes.vlines(times[number], 100 * low, 100 * high, color=pick(SERIES, number), linewidth=1)
            axes.scatter(
                times[number],
                worst[number],
                s=float(areas[number]),
                marker=pick(MARKERS, number),
                facecolor="none",
                edgecolor=pick(SERIES, number),
                linewidth=1.6,
                label=_label(result, times[number], is_on_front=front[number]),
            )
        axes.set_xscale("log")
        axes.margins(0.18)
        plain_log_ticks(axes)
        axes.set_xlabel(f"milliseconds for one text at {name} (log scale)")
        axes.set_ylabel("worst domain, %")
        axes.grid(alpha=0.25)
        legend_above(figure, markerscale=0.6)
        return to_svg(figure, "trade-off")


def front_of(results: Sequence[Result]) -> list[bool]:
    """Return which results no other one beats in time, size and worst domain."""
    name = latency_name(results)
    return on_front(
        [
            (float(getattr(result.latency_ms.end_to_end, name)), float(result.size_bytes), 1 - result.accuracy.worst)
            for result in results
        ]
    )


def _label(result: Result, milliseconds_taken: float, *, is_on_front: bool) -> str:
    facts = f"{milliseconds(milliseconds_taken)}, {size(result.size_bytes)}, {percent(result.accuracy.worst)}"
    star = "* " if is_on_front else ""
    return f"{star}{shortened(subject_label(result), LONGEST_LABEL - len(facts))}: {facts}"
