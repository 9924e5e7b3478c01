"""Which results of two documents can be compared, and what differs between them all the same.

A ratio of times is the bundle's alone when machine, limits, engine, threads and texts agree. In a document that holds
rows of several machines, each row has its own machine and its own way of measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from hrkd.errors import BenchError
from hrkd_bench.document.resource_parts import ProfileReport
from hrkd_bench.document.schema import BenchDocument, MeasuredEnvironment, Result

MEASURE_AGAIN = "measure both on one machine, with the same settings and evaluation texts"
_MUST_AGREE = ("cpu", "architecture", "available_cpus")
_WORTH_KNOWING = ("versions", "kernel", "python", "governor", "memory_limit_bytes", "cpu_features")


@dataclass(frozen=True, slots=True)
class Row:
    """A result and how it came about.

    Attributes:
        result: What was measured.
        environment: The machine that measured it.
        config: How it measured.
        profile: Under which limits; None without any.
    """

    result: Result
    environment: MeasuredEnvironment
    config: Mapping[str, Any]
    profile: ProfileReport | None

    @classmethod
    def of(cls, document: BenchDocument, result: Result) -> Self:
        """Look up the machine of a result in its document."""
        device = result.device
        if device is None or device not in document.environments:  # what a device measured alone is about that device
            return cls(result, document.environment, document.config, document.profile)
        protocol = document.protocols.get(device)
        if protocol is None:  # an older document, which did not say how the device measured
            return cls(result, document.environments[device], document.config, None)
        return cls(result, document.environments[device], protocol.config, protocol.profile)


Pair = tuple[Row, Row]
"""What was measured before, and what is judged."""


def comparable_pairs(old: BenchDocument, new: BenchDocument) -> list[Pair]:
    """Return what the documents have in common: the same name, engine and precision.

    Where each document holds one subject that is no baseline, these two are compared whatever they are called.

    Raises:
        BenchError: They have nothing in common, or it was measured on other texts, machines, engines, threads or
            limits, so that a ratio would say nothing about the bundle.
    """
    same_texts = (old.texts.sha256, old.texts.count) == (new.texts.sha256, new.texts.count)
    if not same_texts or old.config.get("seed") != new.config.get("seed"):
        raise BenchError("the documents were measured on different evaluation texts", hint=MEASURE_AGAIN)
    pairs = _pairs(old, new)
    for before, after in pairs:
        _refuse_other_conditions(before, after)
    return pairs


def differences(pairs: Sequence[Pair]) -> list[str]:
    """Return what differs within the pairs and may be the reason for a difference."""
    found = [
        *(words for pair in pairs for words in _of_machines(*pair)),
        *(words for pair in pairs for words in _of_models(*pair)),
    ]
    return list(dict.fromkeys(found))


def _pairs(old: BenchDocument, new: BenchDocument) -> list[Pair]:
    before, after = (
        [Row.of(document, result) for result in document.results if not result.is_baseline] for document in (old, new)
    )
    known = {_key(row): row for row in before}
    pairs = [(known[_key(row)], row) for row in after if _key(row) in known]
    if not pairs and len(before) == len(after) == 1:
        pairs = [(before[0], after[0])]
    if not pairs:
        names = [", ".join(row.result.name for row in part) or "none" for part in (before, after)]
        raise BenchError(f"no subject stands in both documents: {names[0]}; {names[1]}", hint=MEASURE_AGAIN)
    return pairs


def _key(row: Row) -> tuple[str, str, str]:
    return row.result.name, row.result.engine, row.result.precision


def _refuse_other_conditions(old: Row, new: Row) -> None:
    name = new.result.name
    for key in _MUST_AGREE:
        before, after = getattr(old.environment, key), getattr(new.environment, key)
        if before != after:
            raise BenchError(f"the machines of `{name}` differ: `{key}` was {before}, now {after}", hint=MEASURE_AGAIN)
    if old.result.engine != new.result.engine:
        raise BenchError(f"`{name}` ran with {old.result.engine}, now with {new.result.engine}", hint=MEASURE_AGAIN)
    if old.result.threads != new.result.threads:
        raise BenchError(
            f"`{name}` ran on {old.result.threads} thread(s), now on {new.result.threads}", hint=MEASURE_AGAIN
        )
    before, after = (_limits(row.profile) for row in (old, new))
    if before != after:
        raise BenchError(f"`{name}` was measured {before}, now {after}", hint="measure both with the same --profile")


def _limits(profile: ProfileReport | None) -> str:
    """Say what a profile limits; which CPUs it chose is not part of that."""
    if profile is None:
        return "without limits"
    parts = [] if profile.cpus is None else [f"{len(profile.cpus)} core(s)"]
    parts += [] if profile.quota is None else [f"quota {profile.quota:g}"]
    parts += [] if profile.memory_bytes is None else [f"{profile.memory_bytes / 1e6:g} MB"]
    return f"under the profile `{profile.name}` ({', '.join(parts)})"


def _of_machines(old: Row, new: Row) -> Iterator[str]:
    where = "" if new.result.device is None else f" on `{new.result.device}`"
    for key in _WORTH_KNOWING:
        before, after = getattr(old.environment, key), getattr(new.environment, key)
        if before != after:
            yield f"`{key}` differs{where}: {_difference(before, after)}"
    for key in sorted(old.config.keys() | new.config.keys()):
        if old.config.get(key) != new.config.get(key):
            yield f"setting `{key}`{where}: {old.config.get(key)}, now {new.config.get(key)}"
    cpus = [None if row.profile is None else row.profile.cpus for row in (old, new)]
    if cpus[0] != cpus[1]:
        yield f"the profile chose the CPUs {cpus[0]}{where}, now {cpus[1]}"


def _of_models(old: Row, new: Row) -> Iterator[str]:
    before, after = old.result, new.result
    if before.name != after.name:
        yield f"`{before.name}` is compared with `{after.name}`"
    if before.precision != after.precision:
        yield f"`{after.name}`: {before.precision} is compared with {after.precision}"
    if before.model_sha256 == after.model_sha256:
        yield f"`{after.name}`: the model is the same file, differences are the machine's or the library's"


def _difference(before: object, after: object) -> str:
    """Say what differs; of two mappings only the entries that do."""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return ", ".join(f"{key} {before.get(key, 'absent')} -> {after.get(key, 'absent')}" for key in changed)
    return f"{before} -> {after}"
