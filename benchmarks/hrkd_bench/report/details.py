"""The report's second table of each model: one row per measured fact, rows that no model has left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hrkd_bench.claims.words import NOT_AVAILABLE, milliseconds, percent, points, size
from hrkd_bench.document.schema import BenchDocument, Result

Cell = Callable[[Result], str | None]


class Row(NamedTuple):
    """A fact of every model.

    Attributes:
        name: What it is.
        cells: One per result, in the document's order.
    """

    name: str
    cells: list[str]


def detail_rows(document: BenchDocument) -> list[Row]:
    """Return the facts that at least one model has."""
    results = document.results
    lengths = sorted({entry.tokens for result in results for entry in result.by_length})
    shares = sorted({share.tokens for result in results for share in result.roofline})
    facts: list[tuple[str, Cell]] = [
        *((f"p50 of {tokens} tokens", _at_length(tokens)) for tokens in lengths),
        ("of it, fixed", _fixed),
        *((f"of the processor's peak, {tokens} tokens", _of_peak(tokens)) for tokens in shares),
        ("processor time, 1,000 texts", _cpu_seconds),
        ("memory beyond an interpreter's", _beyond_interpreter),
        ("smallest memory limit", _memory_limit),
        ("energy of a text, above idle", _energy),
        ("same answer as its fp32", lambda result: _share(result.agreement_with_fp32)),
        ("calibration error", lambda result: _points(result.accuracy.calibration_error)),
        ("open loop, p50 / p99", _open_loop),
        ("steady state against first minute", _sustained),
    ]
    return [row for name, cell in facts if (row := _row(name, cell, results)) is not None]


def _row(name: str, cell: Cell, results: Sequence[Result]) -> Row | None:
    cells = [cell(result) for result in results]
    return Row(name, [text or NOT_AVAILABLE for text in cells]) if any(cells) else None


def _at_length(tokens: int) -> Cell:
    def cell(result: Result) -> str | None:
        return next((milliseconds(entry.p50.value) for entry in result.by_length if entry.tokens == tokens), None)

    return cell


def _fixed(result: Result) -> str | None:
    fit = result.length_fit
    return None if fit is None else milliseconds(max(0.0, fit.overhead_ms.value))


def _of_peak(tokens: int) -> Cell:
    def cell(result: Result) -> str | None:
        found = next((share for share in result.roofline if share.tokens == tokens), None)
        return None if found is None else f"{percent(found.share)} ({found.roof})"

    return cell


def _cpu_seconds(result: Result) -> str | None:
    return None if result.resources is None else f"{result.resources.cpu_seconds_per_1000_texts:.2f} s"


def _beyond_interpreter(result: Result) -> str | None:
    if result.resources is None or result.resources.above_interpreter_bytes is None:
        return None
    return size(result.resources.above_interpreter_bytes)


def _memory_limit(result: Result) -> str | None:
    limit = result.memory_limit
    return None if limit is None or limit.limit_bytes is None else f"{size(limit.limit_bytes)} ({limit.method})"


def _energy(result: Result) -> str | None:
    if result.resources is None or result.resources.energy is None:
        return None
    energy = result.resources.energy
    return f"{1000 * energy.joules_per_text_above_idle:.2f} mJ ({energy.meter})"


def _share(value: float | None) -> str | None:
    return None if value is None else percent(value)


def _points(value: float | None) -> str | None:
    return None if value is None else f"{points(value).lstrip('+')} points"


def _open_loop(result: Result) -> str | None:
    loop = result.open_loop
    if loop is None:
        return None
    times = f"{milliseconds(loop.latency_ms.p50)} / {milliseconds(loop.latency_ms.p99)} at {loop.offered_per_s:g}/s"
    return f"{times}, too much for it" if loop.saturated else times


def _sustained(result: Result) -> str | None:
    sustained = result.sustained
    if sustained is None or sustained.slowdown is None:
        return None
    slowdown = sustained.slowdown
    return f"{slowdown.value:.2f}x ({slowdown.low:.2f} to {slowdown.high:.2f}), {len(sustained.minutes)} minutes"
