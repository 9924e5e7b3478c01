"""What a whole measurement collects from its processes and from the machine around them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hrkd.recipe import BenchConfig
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.limits.control_group import Usage
from hrkd_bench.machine import sensors
from hrkd_bench.measurement import measure as measure_module
from hrkd_bench.measurement import process
from hrkd_bench.measurement.measure import measure
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.samples import Session
from hrkd_bench.subjects import Subject, subject_of
from tiny_bundle import make_bundle

CONFIG = BenchConfig(
    threads=1, rounds=3, warmup_texts=2, cold_starts=4, min_samples=1, min_seconds=0, lengths=(), max_texts=10
)


@pytest.fixture
def tiny(tmp_path: Path) -> Subject:
    make_bundle(tmp_path / "bundle", per_domain=5)
    return subject_of(tmp_path / "bundle")


def take(subject: Subject, limits: Limits | None = None) -> Session:
    texts = read_examples(subject.path, subject.label_names, subject.domain_names)
    return measure([subject], texts, choose(texts, 10, 0), CONFIG, lambda *_: None, limits=limits)


def test_what_the_quota_of_the_processes_stopped_is_counted(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents "stopped by the quota: 0 times" of processes that stood still half of the time in their own group."""

    class Throttled(WorkerProcess):
        def usage(self) -> Usage:
            assert self._process.poll() is None
            return Usage(None, 5, None)

    assert take(tiny).throttled_periods is None
    monkeypatch.setattr(measure_module, "WorkerProcess", Throttled)
    assert take(tiny).throttled_periods == 4 * 5


def test_a_condition_that_comes_back_is_seen_in_its_round(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a second brown-out from being missed because the board's record of the first one stays set."""
    answers = iter([0x10000, 0x10000, 0x10001, 0x10000, 0x10000])
    monkeypatch.setattr(sensors, "raspberry_throttling", lambda: next(answers))
    session = take(tiny)
    assert (session.before.throttling, session.after.throttling) == (0x10000, 0x10001)


def test_the_machine_is_watched_where_the_processes_are(tiny: Subject) -> None:
    """Prevents idle CPUs beside the pinned one from diluting what happens on it."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one CPU only, so keeping to one shows nothing")
    session = take(tiny, Limits(cpus=(max(os.sched_getaffinity(0)),)))
    assert (session.before.cpus, session.after.cpus) == (1, 1)


@pytest.mark.parametrize(
    ("limits", "is_forgotten"), [(Limits(memory_bytes=10**9), True), (Limits(cpus=(0,)), False), (None, False)]
)
def test_files_are_charged_to_a_process_with_a_memory_limit(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch, limits: Limits | None, is_forgotten: bool
) -> None:
    """Prevents a profile that passes because an earlier process had paid for model and engine."""
    forgotten: list[str] = []

    class Free:
        def __init__(self, limits: Limits) -> None:
            pass

    def start(self: object, environment: dict[str, str]) -> Any:
        return None

    monkeypatch.setattr(process, "Confinement", Free)
    monkeypatch.setattr(WorkerProcess, "_start", start)
    monkeypatch.setattr(process, "drop_from_page_cache", lambda files: forgotten.extend(file.name for file in files))
    WorkerProcess(tiny, 1, limits)._stderr.close()
    assert ({"model.onnx", "tokenizer.json"} <= set(forgotten)) is is_forgotten
    assert any(name.startswith("onnxruntime_pybind11_state") for name in forgotten) is is_forgotten
