"""Take the measurements: every subject in its own process, all of them over the same texts, in turns.

One pass over the texts gives accuracy, agreement and latency at once, so a latency always belongs to an answer that
was checked, and two subjects can be compared text by text. The subjects take turns in rounds, in an order that
rotates, so that a slow minute of the machine hits all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.disturbance import Snapshot, take_snapshot
from hrkd_bench.examples import EvaluationTexts, Ids
from hrkd_bench.process import WorkerProcess
from hrkd_bench.subjects import Subject

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SEED = 0
BATCH_SIZE = 16
_TEXTS_PER_REQUEST = 100  # small enough that progress moves and a hanging engine is noticed
_REWARM_TEXTS = 3  # unmeasured texts after a turn of another process has used the caches
_THROUGHPUT_TEXTS = 256
_THROUGHPUT_PASSES = 3
_MOST_WARMUP_PASSES = 6
_STABLE = 0.02  # warm when two passes' medians differ by less

Milliseconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """One subject's measurements, row i for the i-th chosen text: times and tokens (n,), logits (n, C)."""

    tokenize_ms: Milliseconds
    run_ms: Milliseconds
    end_to_end_ms: Milliseconds
    tokens: Ids
    logits: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One fresh process: from its start to its first answer, and the parts that the child timed itself."""

    total_ms: float
    import_ms: float
    load_ms: float
    first_ms: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything measured about one subject."""

    subject: Subject
    size_bytes: int
    samples: Samples
    peak_rss_bytes: int | None
    throughput_per_s: float
    cold_starts: list[ColdStart]


@dataclass(frozen=True, slots=True)
class Session:
    """All measurements, and the state of the machine around them."""

    measurements: list[Measurement]
    before: Snapshot
    after: Snapshot


def measure(
    subjects: Sequence[Subject], texts: EvaluationTexts, positions: Ids, config: BenchConfig, progress: Progress
) -> Session:
    """Measure all subjects on the texts at ``positions``.

    Raises:
        BenchError: A child process failed, or a model answers with something other than finite numbers.
    """
    shuffled = np.random.default_rng(SEED).permutation(positions)
    with ExitStack() as stack:
        workers = []
        for number, subject in enumerate(subjects):
            progress("loading", number, len(subjects))
            workers.append(stack.enter_context(WorkerProcess(subject, config.threads)))
        sizes = [_load(worker, texts) for worker in workers]
        for number, worker in enumerate(workers):
            progress("warming up", number, len(workers))
            _warm_up(worker, shuffled, config.warmup_texts)
        before = take_snapshot()
        samples = _measure_in_rounds(workers, shuffled, positions, config.rounds, progress)
        peaks = [worker.ask("memory")["peak_rss_bytes"] for worker in workers]
        throughputs = _measure_throughput(workers, shuffled[:_THROUGHPUT_TEXTS], progress)
    cold_starts = _measure_cold_starts(subjects, texts, config, progress)
    measurements = [
        Measurement(*parts) for parts in zip(subjects, sizes, samples, peaks, throughputs, cold_starts, strict=True)
    ]
    return Session(measurements, before, take_snapshot())


def _load(worker: WorkerProcess, texts: EvaluationTexts) -> int:
    """Load the worker's model and texts; return the model's size in bytes."""
    answer = worker.load(texts.examples[0])
    subject = worker.subject
    names = (tuple(answer["domain_names"]), tuple(answer["label_names"]))
    if names != (subject.domain_names, subject.label_names):
        raise BenchError(f"`{subject.path}` loads with other domains or labels than its description names")
    worker.ask("open", examples=str(texts.path.resolve()))
    return int(answer["size_bytes"])


def _warm_up(worker: WorkerProcess, shuffled: Ids, least: int) -> None:
    """Repeat the same texts until the median stands still: clocks rise and libraries settle on their own schedule."""
    indices = np.resize(shuffled, least)
    previous = float("inf")
    for _ in range(_MOST_WARMUP_PASSES):
        current = median(_run(worker, indices)["end_to_end_ns"])
        if abs(current - previous) < _STABLE * current:
            return
        previous = current


def _measure_in_rounds(
    workers: Sequence[WorkerProcess], shuffled: Ids, positions: Ids, rounds: int, progress: Progress
) -> list[Samples]:
    """Cut the texts into chunks and let every worker measure each chunk, each time another one first."""
    rows: list[list[dict[str, Any]]] = [[] for _ in workers]
    total, done = len(shuffled) * len(workers), 0
    for number, chunk in enumerate(np.array_split(shuffled, min(rounds, len(shuffled)))):
        for turn in range(len(workers)):
            which = (turn + number) % len(workers)
            _run(workers[which], chunk[:_REWARM_TEXTS])
            for start in range(0, len(chunk), _TEXTS_PER_REQUEST):
                part = chunk[start : start + _TEXTS_PER_REQUEST]
                rows[which].append(_run(workers[which], part))
                done += len(part)
                progress("measuring", done, total)
    into_file_order = np.argsort(shuffled)
    return [_gather(worker.subject, answers, into_file_order) for worker, answers in zip(workers, rows, strict=True)]


def _gather(subject: Subject, answers: Sequence[dict[str, Any]], order: Ids) -> Samples:
    def column(name: str, scale: float = 1.0) -> NDArray[np.float64]:
        values = [value for answer in answers for value in answer[name]]
        return np.asarray(values, dtype=np.float64)[order] * scale

    logits = column("logits")
    if not np.isfinite(logits).all():
        raise BenchError(f"`{subject.path}` answers with NaN or infinity", hint="the model is broken; make it again")
    return Samples(
        tokenize_ms=column("tokenize_ns", 1e-6),
        run_ms=column("run_ns", 1e-6),
        end_to_end_ms=column("end_to_end_ns", 1e-6),
        tokens=column("tokens").astype(np.int64),
        logits=logits,
    )


def _measure_throughput(workers: Sequence[WorkerProcess], indices: Ids, progress: Progress) -> list[float]:
    """Return texts per second in batches: the median of some interleaved passes after one that warms up."""
    rates: list[list[float]] = [[] for _ in workers]
    for number in range(_THROUGHPUT_PASSES + 1):
        progress("measuring throughput", number, _THROUGHPUT_PASSES + 1)
        for which, worker in enumerate(workers):
            answer = worker.ask("throughput", indices=indices.tolist(), batch_size=BATCH_SIZE)
            rates[which].append(answer["texts"] / answer["seconds"])
    return [median(rate[1:]) for rate in rates]


def _measure_cold_starts(
    subjects: Sequence[Subject], texts: EvaluationTexts, config: BenchConfig, progress: Progress
) -> list[list[ColdStart]]:
    """Start every subject afresh some times, in turns. The files are in the page cache: disks are not measured."""
    starts: list[list[ColdStart]] = [[] for _ in subjects]
    for number in range(config.cold_starts):
        for which, subject in enumerate(subjects):
            progress("measuring cold starts", number * len(subjects) + which, config.cold_starts * len(subjects))
            with WorkerProcess(subject, config.threads) as worker:
                answer = worker.load(texts.examples[0])
            names = ("cold_start_s", "import_s", "load_s", "first_s")
            starts[which].append(ColdStart(*(1000 * answer[name] for name in names)))
    return starts


def _run(worker: WorkerProcess, indices: Ids) -> dict[str, Any]:
    return worker.ask("run", indices=indices.tolist())
