"""From a worker's answers to arrays, and from arrays to comparisons, without any process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrkd.errors import BenchError
from hrkd_bench.claims.accuracy import Truth
from hrkd_bench.claims.results import compare, fp32_of
from hrkd_bench.measurement.rounds import Recorder
from hrkd_bench.measurement.samples import Measurement, Samples
from hrkd_bench.subjects import Subject

POSITIONS = np.asarray([4, 7, 9])
TRUTH = Truth(np.asarray([0, 1, 1]), np.asarray([0, 0, 1]), np.asarray([0, 1, 0]), ("neg", "pos"), ("books", "films"))


def subject(name: str, precision: str = "int8", checkpoint: str | None = "abc") -> Subject:
    return Subject(name, "student", "onnxruntime", precision, Path(name), "0", ("books",), ("neg", "pos"), checkpoint)


def answer(indices: np.ndarray, milliseconds: float = 1.0) -> dict[str, Any]:
    """Answer so that each number tells which text it belongs to."""
    times = [round(1e6 * milliseconds * index) for index in indices]
    logits = [[float(index), 0.0] for index in indices]
    columns = dict.fromkeys(("tokenize_ns", "run_ns", "post_ns", "end_to_end_ns"), times)
    return {**columns, "tokens": (indices * 10).tolist(), "logits": logits}


def recorded(milliseconds: float = 1.0) -> Samples:
    recorder = Recorder(subject("one"))
    for number, indices in enumerate(([9, 4, 7], [7, 9, 4], [4, 4])):
        recorder.add(number, np.asarray(indices), answer(np.asarray(indices), milliseconds * (1 + number)))
    return recorder.samples(POSITIONS)


def test_answers_stay_with_their_texts() -> None:
    """Prevents logits, tokens or times of one text from being taken for another's after shuffling and repeating."""
    samples = recorded()
    assert samples.text.tolist() == [2, 0, 1, 1, 2, 0, 0, 0]
    assert samples.round.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert samples.tokens.tolist() == [40, 70, 90]
    assert samples.logits.tolist() == [[4.0, 0.0], [7.0, 0.0], [9.0, 0.0]]
    assert samples.end_to_end_ms.tolist() == [9.0, 4.0, 7.0, 14.0, 18.0, 8.0, 12.0, 12.0]
    assert samples.text_ms.tolist() == [10.0, 10.5, 13.5]
    assert [times.tolist() for times in samples.text_ms_by_round()] == [[4.0, 7.0, 9.0], [8.0, 14.0, 18.0], [12.0]]


def test_nan_is_refused() -> None:
    """Prevents an accuracy computed from answers that are none."""
    recorder = Recorder(subject("one"))
    recorder.add(0, POSITIONS, answer(POSITIONS) | {"logits": [[1.0, 0.0], [float("nan"), 0.0], [0.0, 1.0]]})
    with pytest.raises(BenchError, match="NaN"):
        recorder.samples(POSITIONS)


def measurement(one: Subject, milliseconds: float = 1.0) -> Measurement:
    return Measurement(one, 1000, recorded(milliseconds), None, 1.0, [])


def test_the_unquantised_model_of_the_same_checkpoint_is_found() -> None:
    """Prevents the agreement with the teacher, or with another student, from being called the cost of quantising."""
    own = measurement(subject("int8"))
    teacher = measurement(subject("teacher", "fp32", "other"))
    unknown = measurement(subject("unknown", "fp32", None))
    fp32 = measurement(subject("fp32", "fp32"))
    assert fp32_of(own, [teacher, unknown, own, fp32]) is fp32
    assert fp32_of(own, [teacher, unknown, own]) is None
    assert fp32_of(fp32, [own, fp32]) is None
    assert fp32_of(measurement(subject("lost", "int8", None)), [unknown, fp32]) is None


def test_twice_the_time_is_slower() -> None:
    """Prevents a verdict for the wrong side: the subject, not the baseline, is what is judged."""
    comparison = compare(measurement(subject("slow"), 2.0), measurement(subject("fast")), TRUTH, 0.03)
    assert comparison.speedup_rounds == (0.5, 0.5, 0.5)
    assert comparison.verdict == "SLOWER"
    other = compare(measurement(subject("fast")), measurement(subject("slow"), 2.0), TRUTH, 0.03)
    assert other.verdict == "FASTER"
    assert compare(measurement(subject("a")), measurement(subject("b")), TRUTH, 0.03).verdict == "NOT SIGNIFICANT"
    assert other.p_value == 1.0
    assert [domain.domain for domain in other.domains] == ["books", "films"]
