"""Whether a measurement is within a budget: every limit against every measured subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from hrkd.errors import BudgetError
from hrkd_bench.claims.latency import FEWEST_SAMPLES
from hrkd_bench.claims.words import NOT_AVAILABLE
from hrkd_bench.document.schema import BenchDocument, Result
from hrkd_bench.gate.budget import DROPS, LATENCIES, Budget, Kind, Limit, show
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


class _Model(Protocol):
    """What a reference is chosen by; a result has it, and so has a subject before it is measured."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...


_AnyModel = TypeVar("_AnyModel", bound=_Model)


def check_budget(
    budget: Budget, document: BenchDocument, baseline: str | None = None, *, device: str | None = None
) -> list[Finding]:
    """Check every limit of a budget on every subject of a measurement that is no baseline.

    Args:
        budget: The limits.
        document: A checked bench document.
        baseline: Name of the result that drops are counted from; the first teacher when left out, or else the first
            baseline.
        device: Checks the rows of this device alone, and takes their reference from them where they hold one; all rows
            when left out.

    Returns:
        One finding per subject and limit, subjects in the document's order.

    Raises:
        BudgetError: There is no result called ``baseline``, or every result is a baseline.
    """
    rows = [result for result in document.results if device is None or result.device == device]
    subjects = [result for result in rows if not result.is_baseline]
    if not subjects:
        raise BudgetError("the document holds only baselines, so there is nothing to check")
    reference = _reference_among(document.results, baseline)
    if device is not None and baseline is None:
        reference = _reference_among(rows, None) or reference
    return [_check(limit, result, reference) for result in subjects for limit in budget.limits]


def refuse_uncountable_drops(
    budget: Budget, subjects: Sequence[_Model], baselines: Sequence[_Model], baseline: str | None = None
) -> None:
    """Refuse, before anything is measured, a budget of drops that nothing could be counted from.

    Args:
        budget: The limits.
        subjects: What will be measured.
        baselines: What it will be compared with.
        baseline: See :func:`check_budget`.

    Raises:
        BudgetError: Nothing is called ``baseline``, or drops are limited and nothing is measured beside what they
            count from.
    """
    reference = _reference([*baselines, *subjects], baselines, baseline)
    drops = budget.only(DROPS)
    if not drops or (reference is not None and any(subject is not reference for subject in subjects)):
        return
    what = "no baseline is measured" if reference is None else f"`{reference.name}` is what they would count from"
    names = " and ".join(f"`{limit.metric.name}`" for limit in drops)
    raise BudgetError(f"{names} cannot be checked: {what}", hint="name the teacher with --baseline")


def _reference_among(results: Sequence[Result], name: str | None) -> Result | None:
    return _reference(results, [result for result in results if result.is_baseline], name)


def _reference(models: Sequence[_AnyModel], baselines: Sequence[_AnyModel], name: str | None) -> _AnyModel | None:
    if name is not None:
        found = next((model for model in models if model.name == name), None)
        if found is None:
            names = ", ".join(model.name for model in models)
            raise BudgetError(f"no result is called `{name}`", hint=f"there are: {names}")
        return found
    teachers = [model for model in models if model.role == "teacher"]
    return next(iter([*teachers, *baselines]), None)


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
