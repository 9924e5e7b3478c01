"""The smallest memory limit under which a model still works, found by halving with a real limit.

Each try starts a fresh process under the limit, which loads the model and answers texts. It passes when the labels are
those of a process without a limit and come within ten times its time, or within two seconds where that is more: just
above the smallest limit the kernel throws pages of the program away and reads them again and again, and nobody would
call that working. The two seconds are for the tiniest models, whose ten times are within a slow moment of the machine.

A control group is the kernel's own accounting, with what it would do on a machine of that size: end the process. It
charges a page of a file to whoever read it first, so the engine's and the bundle's files are dropped from the page
cache before each try; otherwise the demo bundle would seem to need 62 instead of 86 MiB. Where no group is to be had,
RLIMIT_DATA stands in under its own name. It counts memory that is reserved as well as used, and no files: 94 MiB with
one thread, some 45 more with each other thread. RLIMIT_AS, which is not offered, says 206 and 254.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrkd.errors import BenchError
from hrkd_bench.examples import EvaluationTexts, choose, read_examples
from hrkd_bench.limits.confinement import Confinement, Limits, check
from hrkd_bench.measurement.page_cache import drop_from_page_cache, files_to_run
from hrkd_bench.measurement.process import ANSWER_TIMEOUT_SECONDS, WorkerProcess
from hrkd_bench.subjects import Subject, subject_of

Method = Literal["cgroup-v2", "cgroup-v1", "rlimit-data"]
Progress = Callable[[int, int], None]
"""Called with the lower and the upper bound so far, in bytes."""
MEGABYTE = 2**20
RESOLUTION = MEGABYTE
TEXTS = 50
"""Texts whose answers must stay the same."""
_SEED = 0
_SMALLEST = 4 * MEGABYTE
_LARGEST = 64 * 1024 * MEGABYTE
_PATIENCE = 10.0
"""A try may take this many times as long as without a limit."""
_LEAST_PATIENCE_SECONDS = 2.0
"""Or this long: starting an interpreter takes a tenth of it, and a busy machine stretches that."""
_NO_OTHERS = Limits()
_TRIED_LIMIT, _TOO_MUCH = 32 * MEGABYTE, 128 * MEGABYTE
"""An interpreter starts under this data limit, and cannot take that much if the limit is one."""
_TAKE = "import sys; bytearray(int(sys.argv[1]))"
_TAKING_SECONDS = 60.0
_NOTHING_PASSES = "it answers otherwise, or not at all, under any limit"
_WORDS: dict[Method, str] = {
    "cgroup-v2": "memory.max with swap off: the kernel ends the process above it; files that other programs were using "
    "at the time are not charged",
    "cgroup-v1": "memory.limit_in_bytes with swap off: the kernel ends the process above it; files that other programs "
    "were using at the time are not charged",
    "rlimit-data": "RLIMIT_DATA, because no control group can be made here: counts memory that is reserved as well as "
    "memory that is used, so the process needs less; not to be compared with memory.max",
}


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What was found; see :class:`hrkd_bench.document.resource_parts.MemoryLimitReport`."""

    method: Method | None
    limit_bytes: int | None
    resolution_bytes: int
    texts: int
    file_bytes: int | None
    words: str


def smallest_limits(bundles: Sequence[Path], threads: int, around: Limits = _NO_OTHERS) -> list[MemoryLimit]:
    """Find the smallest limit of each bundle on some of its own texts; see :func:`smallest_limit`."""
    found = []
    for bundle in bundles:
        subject = subject_of(bundle)
        texts = read_examples(bundle, subject.label_names, subject.domain_names)
        found.append(smallest_limit(subject, texts, choose(texts, TEXTS, _SEED).tolist(), threads, around))
    return found


def add_memory_limits(document: Mapping[str, Any], limits: Sequence[MemoryLimit]) -> dict[str, Any]:
    """Return a bench document with the limits of its last results, which are those of the bundles."""
    baselines, own = document["results"][: -len(limits)], document["results"][-len(limits) :]
    found = [{**result, "memory_limit": asdict(limit)} for result, limit in zip(own, limits, strict=True)]
    return {**document, "results": [*baselines, *found]}


def smallest_limit(
    subject: Subject,
    texts: EvaluationTexts,
    positions: Sequence[int],
    threads: int,
    around: Limits = _NO_OTHERS,
    *,
    resolution: int = RESOLUTION,
    progress: Progress | None = None,
) -> MemoryLimit:
    """Find the smallest limit that one subject passes.

    Args:
        subject: What is run.
        texts: Where the texts come from.
        positions: The texts whose answers must be the same.
        threads: Threads of one answer.
        around: Other limits of all tries, and of the process that they are compared with.
        resolution: Bytes between the limit that is passed and one that is not.
        progress: Told about every try.

    Raises:
        BenchError: The subject fails without any limit.
    """
    trial = _Trial(subject, texts, [int(position) for position in positions], threads, around)
    wanted, peak = trial.without_limit()
    method, reason = choose_method()
    if method is None:
        return MemoryLimit(None, None, resolution, len(positions), None, reason)
    file_bytes: dict[int, int | None] = {}

    def passes(limit: int) -> bool:
        labels, file_bytes[limit] = trial.under(method, limit)
        return labels == wanted

    found = bisect(passes, _round_up(peak or 256 * MEGABYTE, resolution), resolution, progress or _no_progress)
    if found is None:
        return MemoryLimit(None, None, resolution, len(positions), None, _NOTHING_PASSES)
    return MemoryLimit(method, found, resolution, len(positions), file_bytes[found], _WORDS[method])


def choose_method() -> tuple[Method | None, str]:
    """Return the best way of limiting memory here, and why there is none where there is none."""
    try:
        version = check(Limits(memory_bytes=1024 * MEGABYTE))
    except BenchError as error:
        reason = error.message
    else:
        return ("cgroup-v1" if version == 1 else "cgroup-v2"), ""
    try:
        check(Limits(data_bytes=1024 * MEGABYTE))
    except BenchError as error:
        return None, f"not measured: {reason}; {error.message}"
    if not _can_take(MEGABYTE) or _can_take(_TOO_MUCH):
        return None, f"not measured: {reason}; RLIMIT_DATA can be set, but does not limit anything here"
    return "rlimit-data", reason


def _can_take(size: int) -> bool:
    """Return whether an interpreter under a small data limit gets ``size`` bytes.

    Some systems (macOS, Linux before 4.7, some sandboxes) accept the limit and count nothing that numpy or an engine
    takes: every try would pass.
    """
    with Confinement(Limits(data_bytes=_TRIED_LIMIT)) as confinement:
        command = confinement.command([sys.executable, "-I", "-S", "-c", _TAKE, str(size)])
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, check=False, timeout=_TAKING_SECONDS
        )
    return done.returncode == 0


def bisect(passes: Callable[[int], bool], first: int, resolution: int, progress: Progress) -> int | None:
    """Return the smallest multiple of ``resolution`` that passes, given that larger ones do; None if none does.

    Args:
        passes: Tries a limit.
        first: A limit to begin with; doubled until it passes.
        resolution: Bytes.
        progress: Told the bounds.
    """
    upper = first
    while not passes(upper):
        upper *= 2
        if upper > _LARGEST:
            return None
    lower = upper // 2 if upper > first else _SMALLEST // resolution * resolution
    while upper - lower > resolution:
        progress(lower, upper)
        middle = (lower + upper) // 2 // resolution * resolution
        if middle <= lower:
            middle = lower + resolution
        if passes(middle):
            upper = middle
        else:
            lower = middle
    return upper


class _Trial:
    """Runs the same texts in fresh processes."""

    def __init__(
        self,
        subject: Subject,
        texts: EvaluationTexts,
        positions: list[int],
        threads: int,
        around: Limits = _NO_OTHERS,
    ) -> None:
        self._subject, self._texts, self._positions, self._threads = subject, texts, positions, threads
        self._around = around
        self._seconds = ANSWER_TIMEOUT_SECONDS

    def without_limit(self) -> tuple[list[int], int | None]:
        """Return the labels, and the most memory that the process held."""
        drop_from_page_cache(files_to_run(self._subject))
        start = time.monotonic()
        with WorkerProcess(self._subject, self._threads, self._around) as worker:
            labels, peak = self._answers(worker), worker.ask("memory")["peak_rss_bytes"]
        self._seconds = max(_LEAST_PATIENCE_SECONDS, _PATIENCE * (time.monotonic() - start))
        return labels, peak

    def under(self, method: Method, limit: int) -> tuple[list[int] | None, int | None]:
        """Return the labels, None where the process died or refused, and the pages of files that it held."""
        is_data = method == "rlimit-data"
        limits = replace(self._around, data_bytes=limit) if is_data else replace(self._around, memory_bytes=limit)
        drop_from_page_cache(files_to_run(self._subject))
        try:
            with WorkerProcess(self._subject, self._threads, limits) as worker:
                labels = self._answers(worker)
                return labels, worker.ask("memory")["file_bytes"]
        except BenchError:
            return None, None

    def _answers(self, worker: WorkerProcess) -> list[int]:
        end = time.monotonic() + self._seconds
        worker.load(self._texts.examples[0], timeout=self._seconds)
        worker.ask("open", timeout=_left(end), examples=str(self._texts.path.resolve()))
        answer: dict[str, Any] = worker.ask("run", timeout=_left(end), indices=self._positions)
        return [int(label) for label in np.argmax(answer["logits"], axis=1)]


def _left(end: float) -> float:
    return max(0.1, end - time.monotonic())


def _round_up(size: int, resolution: int) -> int:
    return -(-size // resolution) * resolution


def _no_progress(lower: int, upper: int) -> None:
    """Report to nobody."""
