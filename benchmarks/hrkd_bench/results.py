"""From measurements to what is claimed: results per subject, and comparisons with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hrkd.metrics import (
    Interval,
    accuracy,
    agreement,
    average_accuracy_interval,
    macro_f1_by_domain,
    paired_difference_interval,
)
from hrkd_bench.document import Accuracy, ColdStartReport, Comparison, Estimate, Latency, Percentiles, Result
from hrkd_bench.examples import EvaluationTexts, Ids
from hrkd_bench.latency import percentiles, speedup_interval
from hrkd_bench.measure import ColdStart, Measurement, Milliseconds

_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True, slots=True)
class Truth:
    """What the answers are checked against, for the measured texts only; arrays of shape (n,)."""

    labels: Ids
    domains: Ids
    teacher_predictions: Ids
    label_names: tuple[str, ...]
    domain_names: tuple[str, ...]

    @classmethod
    def of(
        cls, texts: EvaluationTexts, positions: Ids, label_names: tuple[str, ...], domain_names: tuple[str, ...]
    ) -> Truth:
        """Keep the texts at ``positions``."""
        labels, domains = texts.labels[positions], texts.domains[positions]
        return cls(labels, domains, texts.teacher_predictions[positions], label_names, domain_names)


def result_of(
    measurement: Measurement, truth: Truth, *, threads: int, is_baseline: bool, invalid_reasons: Sequence[str]
) -> Result:
    """Summarise one subject's measurement."""
    subject, samples = measurement.subject, measurement.samples
    predictions = np.argmax(samples.logits, axis=1)
    return Result(
        name=subject.name,
        role=subject.role,
        engine=subject.engine,
        precision=subject.precision,
        is_baseline=is_baseline,
        size_bytes=measurement.size_bytes,
        threads=threads,
        latency_ms=Latency(
            end_to_end=_percentiles(samples.end_to_end_ms),
            tokenize=_percentiles(samples.tokenize_ms),
            run=_percentiles(samples.run_ms),
        ),
        cold_start_ms=round(median(start.total_ms for start in measurement.cold_starts), 1),
        cold_start=_cold_start(measurement.cold_starts),
        peak_rss_bytes=measurement.peak_rss_bytes,
        throughput_per_s=round(measurement.throughput_per_s, 2),
        accuracy=_accuracy(predictions, truth),
        agreement_with_teacher=agreement(predictions, truth.teacher_predictions),
        valid=not invalid_reasons,
        invalid_reasons=list(invalid_reasons),
        model_sha256=subject.model_sha256,
        samples_ms=np.round(samples.end_to_end_ms, 3).tolist(),
    )


def compare(subject: Measurement, baseline: Measurement, truth: Truth) -> Comparison:
    """Compare two subjects text by text."""
    own = np.argmax(subject.samples.logits, axis=1)
    other = np.argmax(baseline.samples.logits, axis=1)
    difference = paired_difference_interval(own == truth.labels, other == truth.labels, truth.domains)
    average, baseline_average = (
        accuracy(predictions, truth.labels, truth.domains, truth.domain_names).average for predictions in (own, other)
    )
    return Comparison(
        subject=subject.subject.name,
        baseline=baseline.subject.name,
        size_ratio=baseline.size_bytes / subject.size_bytes,
        speedup_p50=_estimate(speedup_interval(baseline.samples.end_to_end_ms, subject.samples.end_to_end_ms)),
        accuracy_difference=_estimate(difference),
        retained_accuracy=average / baseline_average if baseline_average else None,
        agreement=agreement(own, other),
    )


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of one proportion: unlike a bootstrap, it keeps its width when all answers are right."""
    share, spread = hits / trials, _NORMAL_QUANTILE**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding can put a bound on the wrong side of a share of 0 or 1, and a figure cannot draw a negative length.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def _percentiles(samples: Milliseconds) -> Percentiles:
    return Percentiles.model_validate(percentiles(samples))


def _cold_start(starts: Sequence[ColdStart]) -> ColdStartReport:
    return ColdStartReport(
        import_ms=round(median(start.import_ms for start in starts), 1),
        load_ms=round(median(start.load_ms for start in starts), 1),
        first_ms=round(median(start.first_ms for start in starts), 1),
        samples_ms=[round(start.total_ms, 1) for start in starts],
    )


def _accuracy(predictions: NDArray[np.int64], truth: Truth) -> Accuracy:
    correct = predictions == truth.labels
    scores = accuracy(predictions, truth.labels, truth.domains, truth.domain_names)
    f1 = macro_f1_by_domain(predictions, truth.labels, truth.domains, truth.domain_names, len(truth.label_names))
    whole = average_accuracy_interval(correct, truth.domains)
    intervals = {}
    for domain_id, name in enumerate(truth.domain_names):
        chosen = truth.domains == domain_id
        if chosen.any():
            intervals[name] = wilson_interval(int(correct[chosen].sum()), int(chosen.sum()))
    return Accuracy(
        average=scores.average,
        average_interval=(whole.low, whole.high),
        worst=scores.worst,
        worst_domain=min(scores.domains, key=scores.domains.__getitem__),
        domains=scores.domains,
        domain_intervals=intervals,
        macro_f1=f1.average,
    )


def _estimate(interval: Interval) -> Estimate:
    return Estimate(value=interval.value, low=interval.low, high=interval.high)
