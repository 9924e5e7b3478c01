"""The tries of the measurement itself: the slowed copy is slow, and the table counts what it says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd_bench.engines import ENGINES
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.subjects import subject_of
from speed import slowed
from speed.tables import render_repeatability
from tiny_bundle import make_bundle, make_examples


def test_a_tenth_of_the_call_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a slowed copy that is not slow, on which SLOWER would be an error."""
    clock = itertools.count(1000, 10)
    monkeypatch.setattr(slowed.time, "perf_counter_ns", lambda: next(clock))
    slowed._wait(0)
    assert next(clock) - 1000 == pytest.approx(0.1 * 1000, abs=20)


def test_a_worker_finds_the_slowed_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a script that fails on the quiet machine which was booked for it."""
    make_bundle(tmp_path / "bundle")
    engine = replace(ENGINES["onnxruntime"], classifier="speed.slowed:SlowedClassifier")
    monkeypatch.setitem(ENGINES, slowed.ENGINE, engine)
    subject = replace(subject_of(tmp_path / "bundle"), engine=slowed.ENGINE)
    with WorkerProcess(subject, threads=1) as worker:
        assert worker.load(make_examples(("books", "films"), 2)[0])["label_names"] == ["neg", "pos"]
    assert slowed.ENGINE not in {"onnxruntime", "openvino", "pytorch"}


def one(copy: float, verdicts: tuple[str, str]) -> dict[str, Any]:
    value: dict[str, Any] = {"p50_ms": {"bundle": 0.5}, "valid": True}
    for name, speedup, verdict in (("copy", copy, verdicts[0]), ("slowed", 0.91, verdicts[1])):
        value[name] = {"speedup": {"value": speedup, "low": speedup - 0.01, "high": speedup + 0.01}, "verdict": verdict}
    return value


def test_the_table_counts_failures() -> None:
    """Prevents an acceptance that is claimed although tries missed it."""
    right, wrong = ("NOT SIGNIFICANT", "SLOWER"), ("FASTER", "NOT SIGNIFICANT")
    tries = [
        {"benches": [one(1.00, right), one(1.01, right)]},
        {"benches": [one(1.00, right), one(1.06, wrong)]},
        {"benches": [one(1.00, right), one(0.94, right)]},
    ]
    document = {"tries": tries, "command": ["python"], "slowed_by": 0.1, "config": {"rounds": 8}}
    text = render_repeatability(document | {"environment": {"cpu": "Made Up"}})
    assert "at most 5 % in 1 of 3 tries" in text
    assert "NOT SIGNIFICANT in 5 of 6 measurements" in text
    assert "SLOWER in 5 of 6 measurements" in text
    assert "6 of 6 measurements were undisturbed" in text
    assert "| 2b | 0.500 | 1.060 (1.050 to 1.070) | FASTER | 0.910 (0.900 to 0.920) | NOT SIGNIFICANT | 6.0 % |" in text
