"""A session as JSON and back: what a device sends is data from elsewhere, so every part is checked against its type.

The dataclasses of :mod:`hrkd_bench.measurement.samples` are the only description; arrays travel as lists, a subject as
its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_origin

import numpy as np

from hrkd.bundle import MANIFEST, read_manifest
from hrkd.shape import ShapeError, from_json, to_json
from hrkd_bench.measurement.samples import Measurement, Milliseconds, Minute, OpenLoopSamples, Samples, Session
from hrkd_bench.subjects import Subject

_FEWEST_BLOCKS = 2  # of a minute: one alone has no spread


def session_to_json(session: Session) -> dict[str, Any]:
    """Return a session as plain values."""
    subjects = [measurement.subject for measurement in session.measurements]

    def write(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        return subjects.index(value) if isinstance(value, Subject) else NotImplemented

    value: dict[str, Any] = to_json(session, write)
    return value


def session_from_json(value: Any, subjects: Sequence[Subject], num_texts: int) -> Session:
    """Read a session.

    Args:
        value: What :func:`session_to_json` returned.
        subjects: What was measured, in that order; bundles of this machine.
        num_texts: How many texts were chosen.

    Raises:
        ShapeError: It is no session, or not one over these subjects and texts.
    """

    def read(hint: Any, found: Any, where: str) -> Any:
        if hint is Subject:
            if type(found) is not int or not 0 <= found < len(subjects):
                raise ShapeError(where, "Input should be the number of a subject")
            return subjects[found]
        if get_origin(hint) is np.ndarray:
            return _array(found, get_args(get_args(hint)[1])[0], where)
        return NotImplemented

    session = from_json(Session, value, "session", read)
    if [measurement.subject for measurement in session.measurements] != list(subjects):
        raise ShapeError("session.measurements", "Input should be one of each subject, in order")
    for number, measurement in enumerate(session.measurements):
        where = f"session.measurements.{number}"
        _check(measurement, num_texts, where)
        first = session.measurements[0].samples
        if not np.array_equal(np.unique(measurement.samples.round), np.unique(first.round)):
            raise ShapeError(f"{where}.samples.round", "Input should name the rounds of the first subject")
    return session


def _array(value: Any, kind: type[np.generic], where: str) -> np.ndarray[Any, Any]:
    """Read an array of numbers of one or two dimensions."""
    if not isinstance(value, list):
        raise ShapeError(where, "Input should be a list")
    rows = value if value and all(isinstance(row, list) for row in value) else [value]
    allowed = (int,) if issubclass(kind, np.integer) else (int, float)
    if any(type(item) not in allowed for row in rows for item in row) or len({len(row) for row in rows}) > 1:
        raise ShapeError(where, "Input should be a list of numbers, or of lists of equally many")
    try:
        array = np.asarray(value, dtype=kind)
    except OverflowError:
        raise ShapeError(where, "Input should be numbers that fit into 8 bytes") from None
    if not np.isfinite(array).all():
        raise ShapeError(where, "Input should be finite numbers")
    return array


def _check(measurement: Measurement, num_texts: int, where: str) -> None:
    """Refuse what does not belong together, and numbers that no measurement gives."""
    size_bytes = read_manifest(measurement.subject.path / MANIFEST).size_bytes
    if measurement.size_bytes != size_bytes:
        raise ShapeError(f"{where}.size_bytes", f"Input should be {size_bytes}, as the bundle has")
    _check_samples(measurement.samples, (num_texts, len(measurement.subject.label_names)), f"{where}.samples")
    if not measurement.cold_starts:
        raise ShapeError(f"{where}.cold_starts", "Input should have at least 1 item")
    if measurement.throughput_per_s <= 0:
        raise ShapeError(f"{where}.throughput_per_s", "Input should be above 0")
    if len({len(rounds) for rounds in measurement.lengths_ms.values()}) > 1:
        raise ShapeError(f"{where}.lengths_ms", "Input should have equally many rounds at each length")
    for tokens, rounds in measurement.lengths_ms.items():
        if not rounds or not all(map(_are_times, rounds)):
            raise ShapeError(f"{where}.lengths_ms.{tokens}", "Input should be rounds of times above 0")
    if measurement.open_loop is not None:
        _check_open_loop(measurement.open_loop, f"{where}.open_loop")
    if measurement.minutes is not None:
        _check_minutes(measurement.minutes, f"{where}.minutes")


def _check_samples(samples: Samples, shape: tuple[int, int], where: str) -> None:
    """Refuse arrays that do not belong together: an answer would count for another text."""
    if samples.logits.shape != shape:
        raise ShapeError(f"{where}.logits", f"Input should have the shape {shape}")
    if samples.tokens.shape != shape[:1]:
        raise ShapeError(f"{where}.tokens", f"Input should have {shape[0]} items")
    timed = (samples.round, samples.tokenize_ms, samples.run_ms, samples.post_ms, samples.end_to_end_ms)
    if samples.text.ndim != 1 or any(array.shape != samples.text.shape for array in timed):
        raise ShapeError(where, "Input should have as many times as texts")
    if not np.array_equal(np.unique(samples.text), np.arange(shape[0])):
        raise ShapeError(f"{where}.text", f"Input should name each of the {shape[0]} texts")
    if not (_are_times(samples.run_ms) and _are_times(samples.end_to_end_ms)):
        raise ShapeError(where, "Input should be times above 0")


def _check_open_loop(samples: OpenLoopSamples, where: str) -> None:
    """Refuse requests that are out of order: they are answered one after the other."""
    arrivals, starts, ends = samples.arrivals, samples.starts, samples.ends
    if samples.rate <= 0:
        raise ShapeError(f"{where}.rate", "Input should be above 0")
    if arrivals.ndim != 1 or starts.ndim != 1 or starts.shape != ends.shape or not 0 < len(ends) <= len(arrivals):
        raise ShapeError(
            where, "Input should have a start and an end for each answered request, and 1 of them at least"
        )
    worked = np.column_stack([starts, ends]).ravel()
    if any((np.diff(times, prepend=0.0) < 0).any() for times in (arrivals, worked)):
        raise ShapeError(where, "Input should be times in order")
    if arrivals[-1] <= 0 or ends[-1] <= 0:
        raise ShapeError(where, "Input should be times above 0")


def _check_minutes(minutes: Sequence[Minute], where: str) -> None:
    """Refuse minutes without answers."""
    if not minutes:
        raise ShapeError(where, "Input should have at least 1 item")
    for number, minute in enumerate(minutes):
        if len(minute.blocks_ms) < _FEWEST_BLOCKS or minute.samples < 1:
            raise ShapeError(f"{where}.{number}", f"Input should have at least {_FEWEST_BLOCKS} stretches with answers")
        if min(*minute.blocks_ms, minute.median_ms) <= 0:
            raise ShapeError(f"{where}.{number}", "Input should be times above 0")


def _are_times(array: Milliseconds) -> bool:
    return array.ndim == 1 and array.size > 0 and bool((array > 0).all())
