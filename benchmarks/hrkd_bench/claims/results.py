"""From measurements to what is claimed: results per subject, and comparisons with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from hrkd.metrics import accuracy, agreement, paired_difference_interval
from hrkd.recipe import BenchConfig
from hrkd.significance import mcnemar_p
from hrkd_bench.claims import ratio, summaries
from hrkd_bench.claims.accuracy import Truth, accuracy_of, compare_domains, differing
from hrkd_bench.claims.latency import percentiles, speedup_interval
from hrkd_bench.claims.summaries import estimate
from hrkd_bench.document.resource_parts import report_resources
from hrkd_bench.document.schema import ColdStartReport, Comparison, Latency, Percentiles, RawSamples, Result
from hrkd_bench.measurement.samples import ColdStart, Measurement, Milliseconds, Samples


def result_of(
    measurement: Measurement,
    truth: Truth,
    config: BenchConfig,
    *,
    fp32: Measurement | None,
    is_baseline: bool,
    invalid_reasons: Sequence[str],
) -> Result:
    """Summarise one subject's measurement.

    Args:
        measurement: The subject's.
        truth: What its answers are checked against.
        config: How it was measured.
        fp32: The same model before quantising, where it was measured as well.
        is_baseline: Whether it was given as one.
        invalid_reasons: Why the times must not be relied on.
    """
    subject, logits = measurement.subject, measurement.samples.logits
    predictions = np.argmax(logits, axis=1)
    return Result(
        name=subject.name,
        role=subject.role,
        engine=subject.engine,
        precision=subject.precision,
        model_sha256=subject.model_sha256,
        is_baseline=is_baseline,
        threads=config.threads,
        accuracy=accuracy_of(logits, truth),
        agreement_with_teacher=agreement(predictions, truth.teacher_predictions),
        valid=not invalid_reasons,
        invalid_reasons=list(invalid_reasons),
        agreement_with_fp32=None if fp32 is None else agreement(predictions, np.argmax(fp32.samples.logits, axis=1)),
        fp32_reference=None if fp32 is None else fp32.subject.name,
        **_costs(measurement, config.smallest_difference),
    )


def _costs(measurement: Measurement, smallest_difference: float) -> dict[str, Any]:
    """Return the fields of a result that are the same whatever was answered: size, times, memory, energy."""
    loop, minutes, resources = measurement.open_loop, measurement.minutes, measurement.resources
    return {
        "size_bytes": measurement.size_bytes,
        "latency_ms": _latency(measurement.samples),
        "cold_start_ms": round(median(start.total_ms for start in measurement.cold_starts), 1),
        "cold_start": _cold_start(measurement.cold_starts),
        "peak_rss_bytes": measurement.peak_rss_bytes,
        "throughput_per_s": round(measurement.throughput_per_s, 2),
        "samples_ms": np.round(measurement.samples.text_ms, 3).tolist(),
        "samples": _raw(measurement.samples),
        "by_length": tuple(summaries.length_latencies(measurement.lengths_ms)),
        "length_fit": summaries.length_fit(measurement.lengths_ms),
        "open_loop": None if loop is None else summaries.open_loop(loop),
        "sustained": None if minutes is None else summaries.sustained(minutes, smallest_difference),
        "resources": None if resources is None else report_resources(resources),
    }


def fp32_of(measurement: Measurement, others: Sequence[Measurement]) -> Measurement | None:
    """Return the unquantised measurement of the same checkpoint; None when it was not measured, or is the one given.

    Of a bundle and the model folder, whichever was given first.
    """
    own = measurement.subject
    if own.precision == "fp32" or own.checkpoint is None:
        return None
    same = (other for other in others if other.subject.checkpoint == own.checkpoint)
    return next((other for other in same if other.subject.precision == "fp32"), None)


def compare(subject: Measurement, baseline: Measurement, truth: Truth, smallest_difference: float) -> Comparison:
    """Compare two subjects text by text, and their speed round by round."""
    own = np.argmax(subject.samples.logits, axis=1)
    other = np.argmax(baseline.samples.logits, axis=1)
    difference = paired_difference_interval(own == truth.labels, other == truth.labels, truth.domains)
    average, baseline_average = (
        accuracy(predictions, truth.labels, truth.domains, truth.domain_names).average for predictions in (own, other)
    )
    ratios = ratio.round_ratios(baseline.samples.text_ms_by_round(), subject.samples.text_ms_by_round())
    if len(ratios) > 1:
        speedup = ratio.ratio_interval(ratios)
        verdict = ratio.verdict(speedup, smallest_difference)
    else:
        speedup, verdict = speedup_interval(baseline.samples.text_ms, subject.samples.text_ms), None
    return Comparison(
        subject=subject.subject.name,
        baseline=baseline.subject.name,
        size_ratio=baseline.size_bytes / subject.size_bytes,
        speedup_p50=estimate(speedup),
        speedup_rounds=tuple(round(value, 4) for value in ratios),
        verdict=verdict,
        smallest_difference=smallest_difference,
        accuracy_difference=estimate(difference),
        retained_accuracy=average / baseline_average if baseline_average else None,
        agreement=agreement(own, other),
        p_value=mcnemar_p(*differing(own == truth.labels, other == truth.labels)),
        domains=tuple(compare_domains(subject.samples.logits, baseline.samples.logits, truth)),
    )


def _latency(samples: Samples) -> Latency:
    return Latency(
        end_to_end=_percentiles(samples.end_to_end_ms),
        tokenize=_percentiles(samples.tokenize_ms),
        run=_percentiles(samples.run_ms),
        post=_percentiles(samples.post_ms),
    )


def _percentiles(samples: Milliseconds) -> Percentiles:
    return Percentiles.model_validate(percentiles(samples))


def _raw(samples: Samples) -> RawSamples:
    def rounded(values: Milliseconds) -> list[float]:
        listed: list[float] = np.round(values, 4).tolist()
        return listed

    return RawSamples(
        text=samples.text.tolist(),
        round=samples.round.tolist(),
        tokenize_ms=rounded(samples.tokenize_ms),
        run_ms=rounded(samples.run_ms),
        post_ms=rounded(samples.post_ms),
        end_to_end_ms=rounded(samples.end_to_end_ms),
    )


def _cold_start(starts: Sequence[ColdStart]) -> ColdStartReport:
    return ColdStartReport(
        import_ms=round(median(start.import_ms for start in starts), 1),
        load_ms=round(median(start.load_ms for start in starts), 1),
        first_ms=round(median(start.first_ms for start in starts), 1),
        samples_ms=[round(start.total_ms, 1) for start in starts],
    )
