"""Whether a new measurement is worse than an old one of the same bundles: the gate behind `hrkd bench compare`.

Times of two documents can be compared only when machine, threads and texts agree; everything else is refused. Each text
is compared with itself, and a round of fresh processes is one observation. Only the median is judged: the tail of a few
processes moves too much from hour to hour to be a gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError
from hrkd.metrics import Interval, bootstrap_interval
from hrkd_bench.claims.ratio import ratio_of_groups
from hrkd_bench.claims.words import milliseconds, percent, points, size
from hrkd_bench.document.schema import BenchDocument, Result
from hrkd_bench.gate.findings import Finding, Outcome

MEASURE_AGAIN = "measure both on one machine, with the same settings and evaluation texts"
_MUST_AGREE = ("cpu", "architecture", "available_cpus")
_WORTH_KNOWING = ("versions", "kernel", "python", "governor", "memory_limit_bytes", "cpu_features")
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
        BenchError: Machine, texts, settings or subjects differ, so that a ratio would say nothing about the bundle.
    """
    allowance = allowance or Allowance()
    _refuse_other_conditions(old, new)
    pairs = _pairs(old, new)
    findings = [finding for before, after in pairs for finding in _findings(before, after, allowance)]
    return Regression(findings, _warnings(old, new, pairs))


def _refuse_other_conditions(old: BenchDocument, new: BenchDocument) -> None:
    for name in _MUST_AGREE:
        before, after = getattr(old.environment, name), getattr(new.environment, name)
        if before != after:
            raise BenchError(f"the machines differ: `{name}` was {before}, now {after}", hint=MEASURE_AGAIN)
    same_texts = (old.texts.sha256, old.texts.count) == (new.texts.sha256, new.texts.count)
    if not same_texts or old.config.get("seed") != new.config.get("seed"):
        raise BenchError("the documents were measured on different evaluation texts", hint=MEASURE_AGAIN)


def _pairs(old: BenchDocument, new: BenchDocument) -> list[tuple[Result, Result]]:
    """Return subjects with one name, engine and precision; where each document holds one subject, these two."""
    subjects = [[result for result in document.results if not result.is_baseline] for document in (old, new)]
    known = {(result.name, result.engine, result.precision): result for result in subjects[0]}
    pairs = [
        (known[key], result)
        for result in subjects[1]
        if (key := (result.name, result.engine, result.precision)) in known
    ]
    if not pairs and len(subjects[0]) == len(subjects[1]) == 1:
        pairs = [(subjects[0][0], subjects[1][0])]
    if not pairs:
        names = [", ".join(result.name for result in part) or "none" for part in subjects]
        raise BenchError(f"no subject stands in both documents: {names[0]}; {names[1]}", hint=MEASURE_AGAIN)
    for before, after in pairs:
        if before.threads != after.threads:
            raise BenchError(
                f"`{after.name}` ran on {before.threads} thread(s), now on {after.threads}", hint=MEASURE_AGAIN
            )
    return pairs


def _warnings(old: BenchDocument, new: BenchDocument, pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    warnings = []
    for name in _WORTH_KNOWING:
        before, after = getattr(old.environment, name), getattr(new.environment, name)
        if before != after:
            warnings.append(f"`{name}` differs: {_difference(before, after)}")
    settings = [key for key in old.config.keys() | new.config.keys() if old.config.get(key) != new.config.get(key)]
    warnings += [f"setting `{key}`: {old.config.get(key)}, now {new.config.get(key)}" for key in sorted(settings)]
    for before, after in pairs:
        if before.name != after.name:
            warnings.append(f"`{before.name}` is compared with `{after.name}`")
        if before.model_sha256 == after.model_sha256:
            warnings.append(
                f"`{after.name}`: the model is the same file, differences are the machine's or the library's"
            )
    return warnings


def _difference(before: object, after: object) -> str:
    """Say what differs; of two mappings only the entries that do."""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return ", ".join(f"{key} {before.get(key, 'absent')} -> {after.get(key, 'absent')}" for key in changed)
    return f"{before} -> {after}"


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
    if not (old.valid and new.valid):
        reasons = dict.fromkeys([*old.invalid_reasons, *new.invalid_reasons])
        why = f"a measurement is invalid: {'; '.join(reasons)}"
        return Finding(new.name, "p50", Outcome.UNKNOWN, shown, allowed, why, None, limit)
    ratio, over = _ratio(old, new)
    outcome = Outcome.MISSED if ratio.low > limit else Outcome.PASS
    interval = f"ratio {ratio.value:.3f}, 95 % interval {ratio.low:.3f} to {ratio.high:.3f} {over}"
    return Finding(new.name, "p50", outcome, shown, allowed, f"{_verdict(ratio)}: {interval}", ratio.value, limit)


def _ratio(old: Result, new: Result) -> tuple[Interval, str]:
    """Return the new latency over the old one with its interval, and what that covers.

    Raises:
        BenchError: The documents hold different numbers of times, or one holds a time of 0.
    """
    if len(old.samples_ms) != len(new.samples_ms):
        raise BenchError(
            f"the documents hold times of {len(old.samples_ms)} and of {len(new.samples_ms)} texts", hint=MEASURE_AGAIN
        )
    times = np.column_stack([np.asarray(result.samples_ms, dtype=np.float64) for result in (new, old)])
    if not (times > 0).all():
        raise BenchError("a document holds a time of 0 ms, which cannot be compared", hint=MEASURE_AGAIN)
    typical = np.log(times).mean(axis=1)
    groups = [_rounds(result, typical) for result in (new, old)]
    if min(map(len, groups)) >= _FEWEST_ROUNDS:
        return ratio_of_groups(*groups), "over rounds"
    return bootstrap_interval(times, _ratio_of_medians), "over texts alone"


def _rounds(result: Result, typical: NDArray[np.float64]) -> list[float]:
    """Return how slow each round of fresh processes was on its texts, each text against its own time.

    Args:
        result: Of one subject.
        typical: Logarithm of each text's time over both documents, (n,).
    """
    if result.samples is None:
        return []
    texts, rounds = np.asarray(result.samples.text), np.asarray(result.samples.round)
    slowness = np.log(np.asarray(result.samples.end_to_end_ms)) - typical[texts]
    return [math.exp(np.median(slowness[rounds == number])) for number in np.unique(rounds)]


def _ratio_of_medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    medians = np.median(rows, axis=0)
    return np.asarray(medians[0] / medians[1])


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
    outcome = Outcome.MISSED if difference + half < -drop else Outcome.PASS
    return Finding(
        new.name,
        "accuracy",
        outcome,
        f"{percent(old.accuracy.average)} -> {percent(new.accuracy.average)}",
        f"at most {100 * drop:g} points less",
        f"{points(difference)} points, 95 % interval {points(difference - half)} to {points(difference + half)}",
        difference,
        -drop,
    )


def _size(old: Result, new: Result, growth: float) -> Finding:
    shown, allowed = f"{size(old.size_bytes)} -> {size(new.size_bytes)}", f"at most {percent(growth)} more"
    if old.size_bytes == 0:
        return Finding(new.name, "size", Outcome.UNKNOWN, shown, allowed, "the old size is 0", None, 1 + growth)
    ratio = new.size_bytes / old.size_bytes
    outcome = Outcome.MISSED if ratio > 1 + growth else Outcome.PASS
    return Finding(new.name, "size", outcome, shown, allowed, f"ratio {ratio:.3f}", ratio, 1 + growth)
