"""A session as JSON and back: what a device sends is data from elsewhere, so every part is checked against its type.

The dataclasses of :mod:`hrkd_bench.measurement.samples` are the only description; arrays travel as lists, a subject as
its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args, get_origin

import numpy as np

from hrkd.shape import ShapeError, from_json, to_json
from hrkd_bench.measurement.samples import Measurement, Session
from hrkd_bench.subjects import Subject


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
        subjects: What was measured, in that order.
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
        _check(measurement, num_texts, f"session.measurements.{number}")
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
    """Refuse arrays that do not belong together: an answer would count for another text."""
    samples, subject = measurement.samples, measurement.subject
    shape = (num_texts, len(subject.label_names))
    if samples.logits.shape != shape:
        raise ShapeError(f"{where}.samples.logits", f"Input should have the shape {shape}")
    if samples.tokens.shape != (num_texts,):
        raise ShapeError(f"{where}.samples.tokens", f"Input should have {num_texts} items")
    timed = (samples.round, samples.tokenize_ms, samples.run_ms, samples.post_ms, samples.end_to_end_ms)
    if any(array.shape != samples.text.shape for array in timed):
        raise ShapeError(f"{where}.samples", "Input should have as many times as texts")
    if not np.array_equal(np.unique(samples.text), np.arange(num_texts)):
        raise ShapeError(f"{where}.samples.text", f"Input should name each of the {num_texts} texts")
    if any((array <= 0).any() for array in (samples.run_ms, samples.end_to_end_ms)):
        raise ShapeError(f"{where}.samples", "Input should be times above 0")
    if not measurement.cold_starts:
        raise ShapeError(f"{where}.cold_starts", "Input should have at least 1 item")
