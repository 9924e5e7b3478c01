"""The budget language: `p95=5ms,size=10MB,worst-domain-drop=1.0` becomes limits, or all that is wrong with it.

Every number has a unit, so that 10 MB is never read as 10 bytes; points of accuracy are the one kind without.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hrkd.data.suggest import suggestion
from hrkd.errors import BudgetError
from hrkd_bench.claims.words import milliseconds, percent, size

_ENTRY = re.compile(r"(?P<number>[0-9.eE+-]*[0-9.])\s*(?P<unit>[^0-9]*)")
_EXAMPLE = "write it like `p95=5ms,size=10MB,rss=120MB,worst-domain-drop=1.0`"


class Kind(StrEnum):
    """What a limit is measured in."""

    TIME = "ms"
    BYTES = "bytes"
    SHARE = "fraction"
    POINTS = "points"
    RATE = "texts/s"


UNITS: dict[Kind, dict[str, float]] = {
    Kind.TIME: {"us": 1e-3, "ms": 1.0, "s": 1e3},
    Kind.BYTES: {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    Kind.SHARE: {"%": 0.01},
    Kind.POINTS: {"": 0.01, "points": 0.01, "pt": 0.01},
    Kind.RATE: {"/s": 1.0},
}
"""Units of each kind and what they are worth in the kind's own: milliseconds, bytes, fractions, texts per second."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that can have a limit.

    Attributes:
        name: As it is written.
        kind: What it is measured in.
        what: For people.
        at_least: Whether the limit is the smallest allowed number instead of the largest.
    """

    name: str
    kind: Kind
    what: str
    at_least: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("p50", Kind.TIME, "median latency of one text"),
        Metric("p90", Kind.TIME, "latency that 90 % of the texts hold"),
        Metric("p95", Kind.TIME, "latency that 95 % of the texts hold"),
        Metric("p99", Kind.TIME, "latency that 99 % of the texts hold"),
        Metric("cold", Kind.TIME, "from the start of a process to its first answer"),
        Metric("size", Kind.BYTES, "files that running needs"),
        Metric("rss", Kind.BYTES, "most memory that the process held"),
        Metric("throughput", Kind.RATE, "texts per second in batches", at_least=True),
        Metric("accuracy", Kind.SHARE, "average accuracy over domains", at_least=True),
        Metric("worst-domain", Kind.SHARE, "accuracy of the worst domain", at_least=True),
        Metric("agreement", Kind.SHARE, "same answer as the teacher", at_least=True),
        Metric("drop", Kind.POINTS, "average accuracy lost against the baseline"),
        Metric("worst-domain-drop", Kind.POINTS, "most accuracy lost in any domain against the baseline"),
    )
}
"""All metrics by name."""
LATENCIES = ("p50", "p90", "p95", "p99")
DROPS = ("drop", "worst-domain-drop")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        metric: Of what.
        value: In the unit of the metric's kind; points as a fraction.
    """

    metric: Metric
    value: float

    @property
    def text(self) -> str:
        """The limit as a phrase, such as ``at most 5.00 ms``."""
        return f"{'at least' if self.metric.at_least else 'at most'} {show(self.metric.kind, self.value)}"

    def holds(self, value: float) -> bool:
        """Return whether a measured value is within the limit."""
        return value >= self.value if self.metric.at_least else value <= self.value

    def margin(self, value: float) -> float:
        """Return how far inside the limit a value lies, as a share of the limit; negative outside."""
        room = value - self.value if self.metric.at_least else self.value - value
        if self.value == 0:
            return math.copysign(math.inf, room) if room else 0.0
        return room / self.value


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits in the order in which they were written, and the text that they were read from."""

    text: str
    limits: tuple[Limit, ...]

    def only(self, names: Iterable[str]) -> tuple[Limit, ...]:
        """Return the limits on these metrics."""
        wanted = set(names)
        return tuple(limit for limit in self.limits if limit.metric.name in wanted)


def parse_budget(text: str) -> Budget:
    """Read a budget.

    Args:
        text: ``NAME=NUMBER UNIT`` entries, separated by commas.

    Raises:
        BudgetError: It is empty, or an entry has an unknown name or unit, no number, or a name that came before; all
            problems in one message.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise BudgetError("the budget is empty", hint=_EXAMPLE)
    limits: list[Limit] = []
    problems: list[str] = []
    for entry in entries:
        try:
            limit = _parse_entry(entry)
        except BudgetError as error:
            problems.append(error.message)
            continue
        if any(limit.metric is other.metric for other in limits):
            problems.append(f"`{limit.metric.name}` stands twice")
        limits.append(limit)
    if problems:
        raise BudgetError(f"the budget `{text[:100]}` cannot be read: {'; '.join(problems)}", hint=_EXAMPLE)
    return Budget(",".join(entries), tuple(limits))


def show(kind: Kind, value: float) -> str:
    """Return a value of a kind as people read it."""
    if kind is Kind.TIME:
        return milliseconds(value)
    if kind is Kind.BYTES:
        return size(round(value))
    if kind is Kind.POINTS:
        return f"{100 * value:.2f} points"
    return percent(value) if kind is Kind.SHARE else f"{value:.1f} texts/s"


def _parse_entry(entry: str) -> Limit:
    name, separator, written = (part.strip() for part in entry.partition("="))
    if not separator:
        raise BudgetError(f"`{entry[:40]}` is not of the form NAME=LIMIT")
    metric = METRICS.get(name)
    if metric is None:
        raise BudgetError(f"`{name[:40]}` is unknown, {suggestion(name, METRICS)}")
    match = _ENTRY.fullmatch(written)
    number = _number(match["number"]) if match else None
    if match is None or number is None:
        raise BudgetError(f"`{name}={written[:40]}` holds no number")
    units = {unit.lower(): worth for unit, worth in UNITS[metric.kind].items()}
    unit = match["unit"].strip()
    if unit.lower() not in units:
        known = ", ".join(f"`{unit}`" for unit in UNITS[metric.kind] if unit)
        raise BudgetError(f"`{name}={written[:40]}` needs one of the units {known}")
    if number == 0 and metric.kind is not Kind.POINTS:
        raise BudgetError(f"`{name}={written[:40]}` is no limit")
    if metric.kind is Kind.SHARE and number > 100:
        raise BudgetError(f"`{name}={written[:40]}` is more than 100 %")
    # 85 * 0.01 is a little more than 0.85, which an accuracy of exactly 85 % would then miss.
    return Limit(metric, float(f"{number * units[unit.lower()]:.12g}"))


def _number(text: str) -> float | None:
    """Return a finite number of at least 0, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
