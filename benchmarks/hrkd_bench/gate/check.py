"""Whether a measurement is within a budget: every limit against every measured subject."""

from __future__ import annotations

from collections.abc import Callable

from hrkd.errors import BudgetError
from hrkd_bench.claims.latency import FEWEST_SAMPLES
from hrkd_bench.claims.words import NOT_AVAILABLE
from hrkd_bench.document.schema import BenchDocument, Result
from hrkd_bench.gate.budget import LATENCIES, Budget, Kind, Limit, show
from hrkd_bench.gate.findings import Finding, Outcome

_NEEDS_A_QUIET_MACHINE = frozenset({*LATENCIES, "cold", "throughput"})
_DIRECT: dict[str, Callable[[Result], float | None]] = {
    "cold": lambda result: result.cold_start_ms,
    "size": lambda result: float(result.size_bytes),
    "rss": lambda result: None if result.peak_rss_bytes is None else float(result.peak_rss_bytes),
    "throughput": lambda result: result.throughput_per_s,
    "accuracy": lambda result: result.accuracy.average,
    "worst-domain": lambda result: result.accuracy.worst,
    "agreement": lambda result: result.agreement_with_teacher,
}


def check_budget(budget: Budget, document: BenchDocument, baseline: str | None = None) -> list[Finding]:
    """Check every limit of a budget on every subject of a measurement that is no baseline.

    Args:
        budget: The limits.
        document: A checked bench document.
        baseline: Name of the result that drops are counted from; the first teacher when left out, or else the first
            baseline.

    Returns:
        One finding per subject and limit, subjects in the document's order.

    Raises:
        BudgetError: There is no result called ``baseline``, or every result is a baseline.
    """
    reference = _reference(document, baseline)
    subjects = [result for result in document.results if not result.is_baseline]
    if not subjects:
        raise BudgetError("the document holds only baselines, so there is nothing to check")
    return [_check(limit, result, reference) for result in subjects for limit in budget.limits]


def _reference(document: BenchDocument, name: str | None) -> Result | None:
    if name is not None:
        found = next((result for result in document.results if result.name == name), None)
        if found is None:
            names = ", ".join(result.name for result in document.results)
            raise BudgetError(f"no result is called `{name}`", hint=f"there are: {names}")
        return found
    teachers = [result for result in document.results if result.role == "teacher"]
    return next(iter([*teachers, *(result for result in document.results if result.is_baseline)]), None)


def _check(limit: Limit, result: Result, reference: Result | None) -> Finding:
    name = limit.metric.name
    value, reason = _measured(name, result, reference)
    if value is not None and not result.valid and name in _NEEDS_A_QUIET_MACHINE:
        reason = f"the measurement is invalid: {'; '.join(result.invalid_reasons)}"
    if value is None or reason:
        shown = NOT_AVAILABLE if value is None else show(limit.metric.kind, value)
        return Finding(result.name, name, Outcome.UNKNOWN, shown, limit.text, reason, value, limit.value)
    outcome = Outcome.PASS if limit.holds(value) else Outcome.MISSED
    detail = margin_words(limit, value) + (f", against {reference.name}" if reference and "drop" in name else "")
    return Finding(result.name, name, outcome, show(limit.metric.kind, value), limit.text, detail, value, limit.value)


def margin_words(limit: Limit, value: float) -> str:
    """Say how far a value lies inside or outside a limit, in the limit's unit and as a share of it."""
    distance = abs(value - limit.value)
    inside = limit.holds(value)
    share = "" if limit.value == 0 or limit.metric.kind is Kind.POINTS else f" ({100 * distance / limit.value:.1f} %)"
    unit = f"{100 * distance:.2f} points" if limit.metric.kind is Kind.SHARE else show(limit.metric.kind, distance)
    return f"{unit}{share} {'to spare' if inside else 'beyond it'}"


def _measured(name: str, result: Result, reference: Result | None) -> tuple[float | None, str]:
    """Return a metric's value, or None and why there is none."""
    if name in LATENCIES:
        latency = result.latency_ms.end_to_end
        value = getattr(latency, name)
        return (
            value,
            "" if value is not None else f"needs at least {FEWEST_SAMPLES[name]} samples, here are {latency.n}",
        )
    if name in _DIRECT:
        value = _DIRECT[name](result)
        return value, "" if value is not None else "this system does not say"
    if reference is None:
        return None, "no baseline was measured, name the teacher with --baseline"
    if reference is result:
        return None, "this is the baseline itself"
    if name == "drop":
        return reference.accuracy.average - result.accuracy.average, ""
    domains = reference.accuracy.domains.keys() & result.accuracy.domains.keys()
    if not domains:
        return None, f"no domain in common with {reference.name}"
    return max(reference.accuracy.domains[domain] - result.accuracy.domains[domain] for domain in domains), ""
