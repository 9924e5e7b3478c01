"""The smallest limit: the search for it, what counts as passing, and one real try."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from hrkd.errors import BenchError
from hrkd_bench.examples import read_examples
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.measurement import memory_limit
from hrkd_bench.measurement.memory_limit import MEGABYTE, Method, bisect, choose_method, smallest_limit
from hrkd_bench.profiled import limits_but_memory
from hrkd_bench.subjects import Subject, subject_of
from tiny_bundle import LABELS, make_bundle


@pytest.mark.parametrize("need", [5, 37, 64, 65, 500])
@pytest.mark.parametrize("first", [16, 64])
def test_the_search_ends_at_the_smallest_that_passes(need: int, first: int) -> None:
    """Prevents a limit that is one step too small (it fails) or too large (another one passes)."""
    tried: list[int] = []

    def passes(limit: int) -> bool:
        tried.append(limit)
        return limit >= need * MEGABYTE

    found = bisect(passes, first * MEGABYTE, MEGABYTE, lambda lower, upper: None)
    assert found == need * MEGABYTE
    assert len(tried) == len(set(tried)) <= 14


def test_a_model_that_never_passes_ends_the_search() -> None:
    """Prevents a search without end, and a limit that nothing passed."""
    assert bisect(lambda limit: False, MEGABYTE, MEGABYTE, lambda lower, upper: None) is None


@pytest.fixture
def tiny(tmp_path: Path) -> Subject:
    make_bundle(tmp_path / "bundle", per_domain=5)
    return subject_of(tmp_path / "bundle")


def test_other_answers_do_not_pass(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a limit under which the process lives but answers something else."""
    texts = read_examples(tiny.path, LABELS, ("books", "films"))
    right = [0, 1]
    monkeypatch.setattr(memory_limit._Trial, "without_limit", lambda self: (right, 32 * MEGABYTE))
    monkeypatch.setattr(memory_limit, "choose_method", lambda: ("cgroup-v2", ""))

    def under(self: object, method: str, limit: int) -> tuple[list[int], int]:
        return ([0, 1] if limit >= 20 * MEGABYTE else [1, 1]), 7

    monkeypatch.setattr(memory_limit._Trial, "under", under)
    found = smallest_limit(tiny, texts, [0, 1], 1)
    assert found.limit_bytes == 20 * MEGABYTE
    assert (found.method, found.file_bytes, found.texts) == ("cgroup-v2", 7, 2)


def test_files_are_forgotten_before_a_try(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a limit that leaves out model and engine because an earlier try had brought them into memory."""
    forgotten: list[str] = []

    def advise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert (start, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        forgotten.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)

    def nobody(*arguments: object) -> None:
        raise BenchError("no process is needed here")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(memory_limit, "WorkerProcess", nobody)
    trial = memory_limit._Trial(tiny, read_examples(tiny.path, LABELS, ("books", "films")), [0], 1)
    assert trial.under("cgroup-v2", 64 * MEGABYTE) == (None, None)
    assert {"model.onnx", "tokenizer.json"} <= set(forgotten)
    assert any(name.startswith("onnxruntime_pybind11_state") for name in forgotten)


def test_crawling_does_not_pass(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a search that waits ten minutes for every process that only moves its own pages to and fro."""
    monkeypatch.setattr(memory_limit, "_LEAST_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(memory_limit, "_PATIENCE", 0.01)
    trial = memory_limit._Trial(tiny, read_examples(tiny.path, LABELS, ("books", "films")), [0], 1)
    trial.without_limit()
    start = time.monotonic()
    assert trial.under("rlimit-data", 2**30) == (None, None)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(("method", "limit"), [("cgroup-v2", "memory_bytes"), ("rlimit-data", "data_bytes")])
def test_the_search_stays_inside_a_profile(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch, method: Method, limit: str
) -> None:
    """Prevents a limit found on all cores from standing in a document whose profile grants one."""
    seen: list[Limits] = []

    def start(subject: Subject, threads: int, limits: Limits) -> MagicMock:
        seen.append(limits)
        return MagicMock()

    monkeypatch.setattr(memory_limit, "WorkerProcess", start)
    around = limits_but_memory({"profile": {"cpus": [1], "quota": 0.5, "memory_bytes": 10**8}})
    texts = read_examples(tiny.path, LABELS, ("books", "films"))
    trial = memory_limit._Trial(tiny, texts, [0], 1, around)
    monkeypatch.setattr(trial, "_answers", lambda worker: [0])
    trial.without_limit()
    trial.under(method, 7)
    assert seen == [Limits(cpus=(1,), quota=0.5), Limits(cpus=(1,), quota=0.5, **{limit: 7})]
    assert limits_but_memory({}) == limits_but_memory({"profile": None}) == Limits()


def test_tries_are_given_up_after_ten_times_or_two_seconds(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a fifth of a second that became ten from being called ten times the unlimited time."""
    clock = iter([0.0, 0.1, 0.0, 0.9])
    texts = read_examples(tiny.path, LABELS, ("books", "films"))
    trial = memory_limit._Trial(tiny, texts, [0], 1)
    monkeypatch.setattr(memory_limit, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(memory_limit, "WorkerProcess", MagicMock())
    monkeypatch.setattr(trial, "_answers", lambda worker: [0])
    allowed = []
    for _ in range(2):
        trial.without_limit()
        allowed.append(trial._seconds)
    assert allowed == pytest.approx([2.0, 9.0])


@pytest.mark.parametrize(
    ("limit", "method"),
    [(memory_limit._TRIED_LIMIT, "rlimit-data"), (4 * memory_limit._TOO_MUCH, None), (MEGABYTE // 64, None)],
    ids=["bites", "is accepted and does nothing", "nothing starts under it"],
)
def test_a_data_limit_that_does_not_bite_is_no_method(
    monkeypatch: pytest.MonkeyPatch, limit: int, method: str | None
) -> None:
    """Prevents a search in which every try passes and "5 MiB" comes out, as on systems that only accept the limit."""

    def check(limits: Limits) -> None:
        if limits.memory_bytes is not None:
            raise BenchError("no group here")

    monkeypatch.setattr(memory_limit, "check", check)
    monkeypatch.setattr(memory_limit, "_TRIED_LIMIT", limit)
    found, reason = choose_method()
    assert found == method
    assert "no group here" in reason
    assert ("does not limit" in reason) is (method is None)


def test_no_way_to_limit_is_said(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a number where nothing was limited."""

    def refuse(limits: object) -> None:
        raise BenchError("no luck here")

    monkeypatch.setattr(memory_limit, "check", refuse)
    monkeypatch.setattr(memory_limit._Trial, "without_limit", lambda self: ([0], 32 * MEGABYTE))
    texts = read_examples(tiny.path, LABELS, ("books", "films"))
    found = smallest_limit(tiny, texts, [0], 1)
    assert (found.method, found.limit_bytes) == (None, None)
    assert "no luck here" in found.words


def test_a_real_limit_ends_a_real_process(tiny: Subject) -> None:
    """Prevents a search over limits that never reach the process: a small one kills it, a large one does not."""
    texts = read_examples(tiny.path, LABELS, ("books", "films"))
    method, reason = choose_method()
    if method is None:
        pytest.skip(reason)
    trial = memory_limit._Trial(tiny, texts, [0, 1, 2], 1)
    wanted, peak = trial.without_limit()
    assert peak is not None
    assert trial.under(method, 8 * MEGABYTE) == (None, None)
    labels, file_bytes = trial.under(method, 4 * peak)
    assert labels == wanted
    assert file_bytes
