"""Whether a new measurement is worse than an old one of the same bundles: the gate behind `hrkd bench compare`.

What can be compared is said in :mod:`hrkd_bench.gate.conditions`; everything else is refused. Each text is compared
with itself, and a round of fresh processes is one observation, so that one round alone says nothing. Only the median is
judged: the tail of a few processes moves too much from hour to hour to be a gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError
from hrkd.metrics import Interval
from hrkd_bench.claims.ratio import ratio_of_groups
from hrkd_bench.claims.words import milliseconds, percent, points, size
from hrkd_bench.document.schema import BenchDocument, RawSamples, Result
from hrkd_bench.gate.conditions import MEASURE_AGAIN, comparable_pairs, differences
from hrkd_bench.gate.findings import Finding, Outcome

_FEWEST_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Allowance:
    """By how much the new measurement may be worse.

    Attributes:
        slowdown: Share of the median latency; beyond it must lie the whole interval.
        drop: Accuracy, as a fraction; likewise.
        growth: Share of the bytes on disk, which are exact.
    """

    slowdown: float = 0.03
    drop: float = 0.005
    growth: float = 0.02


@dataclass(frozen=True, slots=True)
class Regression:
    """What a comparison found.

    Attributes:
        findings: Latency, accuracy and size of every subject that both documents hold.
        warnings: What differs between the measurements and may be the reason for a difference.
    """

    findings: list[Finding]
    warnings: list[str]


def compare_documents(old: BenchDocument, new: BenchDocument, allowance: Allowance | None = None) -> Regression:
    """Compare every subject of a new measurement with its namesake in an old one.

    Args:
        old: The reference.
        new: What is judged.
        allowance: What is no regression yet; the defaults when left out.

    Raises:
        BenchError: Machine, limits, engine, texts, settings or subjects differ, so that a ratio would say nothing
            about the bundle; or a document is damaged.
    """
    allowance = allowance or Allowance()
    pairs = comparable_pairs(old, new)
    findings = [finding for before, after in pairs for finding in _findings(before.result, after.result, allowance)]
    return Regression(findings, differences(pairs))


def _findings(old: Result, new: Result, allowance: Allowance) -> list[Finding]:
    return [
        _latency(old, new, allowance.slowdown),
        _accuracy(old, new, allowance.drop),
        _size(old, new, allowance.growth),
    ]


def _latency(old: Result, new: Result, slowdown: float) -> Finding:
    before, after = (result.latency_ms.end_to_end.p50 for result in (old, new))
    allowed, limit = f"at most {percent(slowdown)} slower", 1 + slowdown
    shown = f"{milliseconds(before)} -> {milliseconds(after)}"
    why = _why_unknown(old, new)
    ratio = None if why else _ratio(old, new)
    if ratio is None:
        reason = why or "the times lie too far apart for a ratio"
        return Finding(new.name, "p50", Outcome.UNKNOWN, shown, allowed, reason, None, limit)
    outcome = Outcome.MISSED if ratio.low > limit else Outcome.PASS
    interval = f"ratio {ratio.value:.3f}, 95 % interval {ratio.low:.3f} to {ratio.high:.3f} over rounds"
    return Finding(new.name, "p50", outcome, shown, allowed, f"{_verdict(ratio)}: {interval}", ratio.value, limit)


def _why_unknown(old: Result, new: Result) -> str:
    """Return why the times say nothing and what to do about it; empty where they do."""
    if not (old.valid and new.valid):
        reasons = dict.fromkeys([*old.invalid_reasons, *new.invalid_reasons])
        return f"a measurement is invalid: {'; '.join(reasons)}"
    for which, result in (("old", old), ("new", new)):
        rounds = len(set(result.samples.round)) if result.samples_ms and result.samples else 0
        if rounds == 0:
            return (
                f"the {which} document was stored without its single times: compare the whole one, which "
                "`hrkd bench --output` writes"
            )
        if rounds < _FEWEST_ROUNDS:
            return (
                f"the {which} document holds one round of fresh processes, which does not say how much rounds differ: "
                f"measure with `--rounds {_FEWEST_ROUNDS}` or more"
            )
    return ""


def _ratio(old: Result, new: Result) -> Interval | None:
    """Return the new latency over the old one with its interval over rounds; None where it is no finite number.

    Raises:
        BenchError: The documents hold different numbers of times, or times that cannot be.
    """
    if len(old.samples_ms) != len(new.samples_ms):
        raise BenchError(
            f"the documents hold times of {len(old.samples_ms)} and of {len(new.samples_ms)} texts", hint=MEASURE_AGAIN
        )
    typical = np.mean([_logarithms(result.samples_ms) for result in (new, old)], axis=0)
    try:
        ratio = ratio_of_groups(*(_rounds(result.samples, typical) for result in (new, old) if result.samples))
    except OverflowError:
        return None
    return ratio if all(map(math.isfinite, (ratio.value, ratio.low, ratio.high))) else None


def _rounds(samples: RawSamples, typical: NDArray[np.float64]) -> list[float]:
    """Return how slow each round of fresh processes was on its texts, each text against its own time.

    Args:
        samples: Of one subject.
        typical: Logarithm of each text's time over both documents, (n,).

    Raises:
        BenchError: The samples do not fit each other.
    """
    texts, rounds, times = np.asarray(samples.text), np.asarray(samples.round), _logarithms(samples.end_to_end_ms)
    if not len(texts) == len(rounds) == len(times) or texts.min() < 0 or texts.max() >= len(typical):
        raise BenchError("the single times of a document do not fit each other", hint=MEASURE_AGAIN)
    slowness = times - typical[texts]
    return [math.exp(np.median(slowness[rounds == number])) for number in np.unique(rounds)]


def _logarithms(times_ms: Sequence[float]) -> NDArray[np.float64]:
    times = np.asarray(times_ms, dtype=np.float64)
    if not ((times > 0) & np.isfinite(times)).all():
        raise BenchError("a document holds a time that is no number above 0", hint=MEASURE_AGAIN)
    return np.log(times)


def _verdict(ratio: Interval) -> str:
    if ratio.low > 1:
        return "SLOWER"
    return "FASTER" if ratio.high < 1 else "NOT SIGNIFICANT"


def _accuracy(old: Result, new: Result, drop: float) -> Finding:
    """Compare average accuracies as if the answers were independent: the documents do not hold them text by text."""
    difference = new.accuracy.average - old.accuracy.average
    halves = [(high - low) / 2 for low, high in (old.accuracy.average_interval, new.accuracy.average_interval)]
    # The same weights give the same answers; only a difference has an uncertainty.
    half = 0.0 if difference == 0 and old.model_sha256 == new.model_sha256 else math.hypot(*halves)
    shown = f"{percent(old.accuracy.average)} -> {percent(new.accuracy.average)}"
    allowed = f"at most {100 * drop:g} points less"
    if not math.isfinite(difference + half):
        why = "an accuracy is no number: measure again"
        return Finding(new.name, "accuracy", Outcome.UNKNOWN, shown, allowed, why, None, -drop)
    outcome = Outcome.MISSED if difference + half < -drop else Outcome.PASS
    interval = f"{points(difference)} points, 95 % interval {points(difference - half)} to {points(difference + half)}"
    return Finding(new.name, "accuracy", outcome, shown, allowed, interval, difference, -drop)


def _size(old: Result, new: Result, growth: float) -> Finding:
    shown, allowed = f"{size(old.size_bytes)} -> {size(new.size_bytes)}", f"at most {percent(growth)} more"
    if old.size_bytes == 0:
        return Finding(new.name, "size", Outcome.UNKNOWN, shown, allowed, "the old size is 0", None, 1 + growth)
    ratio = new.size_bytes / old.size_bytes
    outcome = Outcome.MISSED if ratio > 1 + growth else Outcome.PASS
    return Finding(new.name, "size", outcome, shown, allowed, f"ratio {ratio:.3f}", ratio, 1 + growth)
