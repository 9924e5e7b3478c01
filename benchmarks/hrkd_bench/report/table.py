"""The bench document on a terminal: one row per subject, one row per domain, one sentence per comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from hrkd_bench.claims.words import (
    comparison_sentence,
    invalid_reasons,
    milliseconds,
    missing_percentiles,
    percent,
    points,
    size,
    subject_label,
)
from hrkd_bench.document.schema import Result, read_document

_COLUMNS = ("size", "p50", "p95", "p99", "cold start", "peak RSS", "accuracy", "worst domain", "agrees with teacher")


def bench_table(document: Mapping[str, Any]) -> Table:
    """Return one row per subject: size, latency of one text end to end, memory, accuracy.

    Raises:
        ArtifactError: The document is damaged or of another schema.
    """
    parsed = read_document(document)
    threads = parsed.results[0].threads
    caption = [f"one text at a time, {threads} thread{'s' if threads > 1 else ''}, {parsed.texts.count} texts"]
    caption += [text for text in [missing_percentiles(parsed.results[0].latency_ms.end_to_end)] if text]
    if parsed.profile is not None:
        whose = " on this machine alone" if parsed.environments else ""
        caption.append(f"under `{parsed.profile.name}`{whose}: {parsed.profile.label}")
    caption += [f"INVALID: {reason}" for reason in invalid_reasons(parsed)]
    table = Table(title="Bench", caption=Text("; ".join(caption)))
    table.add_column("")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for result in parsed.results:
        table.add_row(Text(_marked(result)), *(Text(cell) for cell in _cells(result)))
    return table


def domain_table(document: Mapping[str, Any]) -> Table:
    """Return accuracy by domain, the worst one first, one column per subject, and differences to the first subject.

    Raises:
        ArtifactError: The document is damaged or of another schema.
    """
    parsed = read_document(document)
    first, *others = parsed.results
    table = Table(title="Accuracy by domain", caption=Text(f"in brackets: points against {first.name}"))
    table.add_column("domain")
    table.add_column("texts", justify="right")
    for result in parsed.results:
        table.add_column(Text(_marked(result)), justify="right")
    for domain in parsed.worst_first():
        reference = first.accuracy.domains[domain]
        cells = [_with_difference(result.accuracy.domains[domain], reference) for result in others]
        table.add_row(Text(domain), str(parsed.texts.domains[domain]), percent(reference), *cells)
    table.add_section()
    reference = first.accuracy.average
    cells = [_with_difference(result.accuracy.average, reference) for result in others]
    table.add_row("average", str(parsed.texts.count), percent(reference), *cells)
    return table


def comparison_lines(document: Mapping[str, Any]) -> list[str]:
    """Return one sentence per comparison.

    Raises:
        ArtifactError: The document is damaged or of another schema.
    """
    parsed = read_document(document)
    return [comparison_sentence(parsed, comparison) for comparison in parsed.comparisons]


def _cells(result: Result) -> list[str]:
    latency, accuracy = result.latency_ms.end_to_end, result.accuracy
    return [
        size(result.size_bytes),
        milliseconds(latency.p50),
        milliseconds(latency.p95),
        milliseconds(latency.p99),
        milliseconds(result.cold_start_ms),
        size(result.peak_rss_bytes),
        percent(accuracy.average),
        f"{percent(accuracy.worst)} ({accuracy.worst_domain})",
        percent(result.agreement_with_teacher),
    ]


def _marked(result: Result) -> str:
    return subject_label(result) if result.valid else f"{subject_label(result)} INVALID"


def _with_difference(value: float, reference: float) -> str:
    return f"{percent(value)} ({points(value - reference)})"
