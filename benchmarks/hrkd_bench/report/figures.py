"""The report's figures of a measurement: accuracy, latency, size, and the student's training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hrkd_bench.claims.words import milliseconds, size, subject_label
from hrkd_bench.document.schema import Result
from hrkd_bench.report.drawing import (
    HATCHES,
    INK,
    LINES,
    LONGEST_LABEL,
    LONGEST_TICK,
    MARKERS,
    SERIES,
    legend_above,
    new_axes,
    pick,
    plain_log_ticks,
    shortened,
    to_svg,
)


def accuracy_figure(results: Sequence[Result], domains: Sequence[str]) -> str:
    """Draw accuracy per domain, one marker with its 95 % interval per subject."""
    height = 1.2 + len(domains) * (0.22 + 0.16 * len(results))
    with new_axes("accuracy", height) as (figure, axes):
        for number, result in enumerate(results):
            shift = (number - (len(results) - 1) / 2) * 0.16
            values = np.asarray([100 * result.accuracy.domains[domain] for domain in domains])
            bounds = 100 * np.asarray([result.accuracy.domain_intervals[domain] for domain in domains])
            axes.errorbar(
                values,
                np.arange(len(domains)) + shift,
                xerr=[values - bounds[:, 0], bounds[:, 1] - values],
                fmt=pick(MARKERS, number),
                color=pick(SERIES, number),
                markersize=5,
                capsize=2,
                linewidth=1,
                label=shortened(subject_label(result), LONGEST_LABEL),
            )
        axes.set_yticks(range(len(domains)), [shortened(domain, LONGEST_TICK) for domain in domains])
        axes.invert_yaxis()
        axes.set_xlabel("accuracy in %, with 95 % interval")
        axes.grid(axis="x", alpha=0.25)
        legend_above(figure)
        return to_svg(figure, "accuracy")


def latency_figure(results: Sequence[Result]) -> str:
    """Draw the share of texts answered within a time, per subject, on a logarithmic axis."""
    with new_axes("latency", 2.5 + 0.2 * len(results)) as (figure, axes):
        for number, result in enumerate(results):
            times = np.sort(np.asarray(result.samples_ms))
            shares = 100 * np.arange(1, len(times) + 1) / len(times)
            # A few hundred steps look the same as thousands and keep the page small.
            kept = np.unique(np.linspace(0, len(times) - 1, 300).astype(int))
            style: Any = pick(LINES, number)
            name = shortened(subject_label(result), LONGEST_LABEL - 14)
            axes.plot(
                times[kept],
                shares[kept],
                linestyle=style,
                color=pick(SERIES, number),
                linewidth=1.6,
                label=f"{name}: p50 {milliseconds(result.latency_ms.end_to_end.p50)}",
            )
        axes.set_xscale("log")
        plain_log_ticks(axes)
        axes.set_xlabel("milliseconds for one text, end to end (log scale)")
        axes.set_ylabel("texts answered, %")
        axes.grid(alpha=0.25)
        legend_above(figure)
        return to_svg(figure, "latency")


def size_figure(results: Sequence[Result]) -> str:
    """Draw the size on disk of each subject as a labelled bar."""
    with new_axes("size", 0.7 + 0.5 * len(results)) as (figure, axes):
        megabytes = [result.size_bytes / 1e6 for result in results]
        for number, result in enumerate(results):
            bar = axes.barh(
                number,
                megabytes[number],
                height=0.34,
                facecolor="none",
                edgecolor=pick(SERIES, number),
                hatch=pick(HATCHES, number),
                linewidth=1.4,
            )
            axes.bar_label(bar, [size(result.size_bytes)], padding=4, color=INK)
            axes.text(
                0, number - 0.26, shortened(subject_label(result), LONGEST_LABEL), ha="left", va="bottom", color=INK
            )
        axes.set_yticks([])
        axes.set_ylim(len(results) - 0.7, -0.75)
        axes.set_xlim(0, max(megabytes) * 1.2)
        axes.set_xlabel("MB on disk")
        return to_svg(figure, "size")


def training_figure(curve: Sequence[tuple[float, float]]) -> str:
    """Draw validation accuracy over steps."""
    with new_axes("training", 2.2) as (figure, axes):
        steps, averages = zip(*curve, strict=True)
        axes.plot(steps, [100 * value for value in averages], "o-", color=SERIES[0], markersize=3, linewidth=1.2)
        axes.set_xlabel("step; average accuracy on the validation texts")
        axes.set_ylabel("accuracy, %")
        axes.grid(alpha=0.25)
        return to_svg(figure, "training")
