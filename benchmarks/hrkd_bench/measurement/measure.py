"""Take the measurements: every subject in its own processes, all of them over the same texts, in turns.

One pass over the texts gives accuracy, agreement and latency at once, so a latency always belongs to an answer that
was checked, and two subjects can be compared text by text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.errors import BenchError
from hrkd_bench.examples import EvaluationTexts
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.machine import sensors
from hrkd_bench.machine.disturbance import take_snapshot
from hrkd_bench.measurement import rounds, schedule
from hrkd_bench.measurement.process import ANSWER_TIMEOUT_SECONDS, WorkerProcess
from hrkd_bench.measurement.resources import Resources, measure_resources
from hrkd_bench.measurement.rounds import Recorder
from hrkd_bench.measurement.samples import ColdStart, Ids, Measurement, Minute, OpenLoopSamples, Session
from hrkd_bench.measurement.sustained import sustain
from hrkd_bench.subjects import Subject

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SEED = 0
BATCH_SIZE = 16
_THROUGHPUT_TEXTS = 256
_THROUGHPUT_PASSES = 3
_PATIENCE = 2.0  # an open loop that takes this many times its planned time is given up: it is saturated


def no_progress(phase: str, done: int, total: int) -> None:
    """Report to nobody."""


def measure(
    subjects: Sequence[Subject],
    texts: EvaluationTexts,
    positions: Ids,
    config: BenchConfig,
    progress: Progress,
    *,
    num_baselines: int = 0,
    limits: Limits | None = None,
) -> Session:
    """Measure all subjects on the texts at ``positions``.

    Args:
        subjects: Baselines first.
        texts: What to classify.
        positions: The texts to measure, ascending.
        config: How to measure.
        progress: Told about it.
        num_baselines: Subjects that no sustained work is asked of.
        limits: What each process may use; everything when left out.

    Raises:
        BenchError: A child process failed, or a model answers with something other than finite numbers.
    """
    cpus = None if limits is None else limits.cpus
    before = take_snapshot(cpus)
    campaign = _Campaign(subjects, texts, positions, config, progress, limits)
    at_the_end = campaign.run(num_baselines)
    campaign.start_again()
    measurements = campaign.measurements(positions, at_the_end)
    after = take_snapshot(cpus)
    after = replace(after, throttling=_either(after.throttling, campaign.throttling))
    return Session(measurements, before, after, campaign.throttled_periods)


@dataclass(frozen=True, slots=True)
class _AtTheEnd:
    """What the processes of the last round are asked for besides, one of each subject."""

    resources: list[Resources]
    throughputs: list[float]
    open_loops: list[OpenLoopSamples | None]
    minutes: list[list[Minute] | None]


class _Campaign:
    """What the rounds share: the schedule, and what is kept of each subject.

    Attributes:
        throttling: What a Raspberry Pi said to slow it down at the end of any round; a condition that has held before
            leaves no other trace of having come back.
        throttled_periods: Scheduling periods that the quotas of the processes' own groups cut short; None without any.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        texts: EvaluationTexts,
        positions: Ids,
        config: BenchConfig,
        progress: Progress,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits
        self.subjects = subjects
        self.texts = texts
        self.config = config
        self.progress = progress
        self.throttling: int | None = None
        self.throttled_periods: int | None = None
        self.entries = schedule.passes(positions, config.min_samples, SEED)
        self.recorders = [Recorder(subject) for subject in subjects]
        self.cold_starts: list[list[ColdStart]] = [[] for _ in subjects]
        self.sizes = [0] * len(subjects)
        self.peaks: list[int | None] = [None] * len(subjects)
        self._repeats: list[int] | None = None
        self._done = 0

    def run(self, num_baselines: int) -> _AtTheEnd:
        """Measure round by round, and ask the last round's processes for the rest."""
        chunks = np.array_split(self.entries, min(self.config.rounds, len(self.entries)))
        for number, chunk in enumerate(chunks):
            with ExitStack() as stack:
                workers = self.start(stack, number)
                self.measure_round(workers, number, chunk)
                if number == len(chunks) - 1:
                    at_the_end = self._at_the_end(workers, num_baselines)
        return at_the_end

    def _at_the_end(self, workers: Sequence[WorkerProcess], num_baselines: int) -> _AtTheEnd:
        some, progress = self.entries[:_THROUGHPUT_TEXTS], self.progress
        return _AtTheEnd(
            resources=_measure_resources(workers, some, progress),  # before the batches: their memory stays
            throughputs=_measure_throughput(workers, some, progress),
            open_loops=_measure_open_loops(workers, self.entries, self.config, progress),
            minutes=_measure_minutes(workers, num_baselines, self.entries, self.config, progress),
        )

    def start_again(self) -> None:
        """Start everything as often as cold starts were asked for beyond the rounds."""
        done = len(self.cold_starts[0])
        for number in range(done, self.config.cold_starts):
            self.progress("starting again", number - done, self.config.cold_starts - done)
            with ExitStack() as stack:
                self.start(stack, number)

    def start(self, stack: ExitStack, number: int) -> list[WorkerProcess]:
        """Start every subject afresh, one after the other.

        Its files are in the page cache, because disks are not measured; but for a memory limit, which counts them.
        """
        workers = []
        for turn in range(len(self.subjects)):
            which = (turn + number) % len(self.subjects)
            if number == 0:  # later rounds belong to "measuring", whose progress goes on
                self.progress("starting", turn, len(self.subjects))
            worker = stack.enter_context(WorkerProcess(self.subjects[which], self.config.threads, self.limits))
            stack.callback(self._count_throttled, worker)
            answer = worker.load(self.texts.examples[0])
            _check_names(worker.subject, answer)
            self.sizes[which] = int(answer["size_bytes"])
            names = ("cold_start_s", "import_s", "load_s", "first_s")
            self.cold_starts[which].append(ColdStart(*(1000 * answer[name] for name in names)))
            workers.append((which, worker))
        return [worker for _, worker in sorted(workers, key=lambda pair: pair[0])]

    def measurements(self, positions: Ids, at_the_end: _AtTheEnd) -> list[Measurement]:
        """Return all that was kept, once everything was measured."""
        return [
            Measurement(
                subject=subject,
                size_bytes=self.sizes[which],
                samples=self.recorders[which].samples(positions),
                peak_rss_bytes=self.peaks[which],
                throughput_per_s=at_the_end.throughputs[which],
                cold_starts=self.cold_starts[which],
                lengths_ms=self.recorders[which].lengths_ms,
                open_loop=at_the_end.open_loops[which],
                minutes=at_the_end.minutes[which],
                resources=at_the_end.resources[which],
            )
            for which, subject in enumerate(self.subjects)
        ]

    def measure_round(self, workers: Sequence[WorkerProcess], number: int, chunk: Ids) -> None:
        """Warm the processes up and measure one part of the entries."""
        warm = []
        for which, worker in enumerate(workers):
            if number == 0:
                self.progress("warming up", which, len(workers))
            worker.ask("open", examples=str(self.texts.path.resolve()))
            warm.append(rounds.warm_up(worker, self.entries, self.config.warmup_texts))
        if self._repeats is None:
            least = self.config.min_seconds
            self._repeats = [schedule.repeats(milliseconds, len(self.entries), least) for milliseconds in warm]
        rounds.measure_texts(workers, self.recorders, number, chunk, self._repeats, self._report)
        rounds.measure_lengths(workers, self.recorders, number, self.config.lengths)
        for which, worker in enumerate(workers):
            self.peaks[which] = _larger(self.peaks[which], worker.ask("memory")["peak_rss_bytes"])
        self.throttling = _either(self.throttling, sensors.raspberry_throttling())

    def _count_throttled(self, worker: WorkerProcess) -> None:
        """Add what a process's group counted; asked before its end, because the group goes with it."""
        periods = worker.usage().throttled_periods
        if periods is not None:
            self.throttled_periods = (self.throttled_periods or 0) + periods

    def _report(self, answers: int) -> None:
        self._done += answers
        self.progress("measuring", self._done, len(self.entries) * sum(self._repeats or ()))


def _check_names(subject: Subject, answer: Mapping[str, Any]) -> None:
    if (tuple(answer["domain_names"]), tuple(answer["label_names"])) != (subject.domain_names, subject.label_names):
        raise BenchError(f"`{subject.path}` loads with other domains or labels than its description names")


def _either(one: int | None, other: int | None) -> int | None:
    """Return the bits of both; None where neither is known."""
    return other if one is None else one if other is None else one | other


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _measure_throughput(workers: Sequence[WorkerProcess], indices: Ids, progress: Progress) -> list[float]:
    """Return texts per second in batches: the median of some interleaved passes after one that warms up."""
    rates: list[list[float]] = [[] for _ in workers]
    for number in range(_THROUGHPUT_PASSES + 1):
        progress("measuring throughput", number, _THROUGHPUT_PASSES + 1)
        for which, worker in enumerate(workers):
            answer = worker.ask("throughput", indices=indices.tolist(), batch_size=BATCH_SIZE)
            rates[which].append(answer["texts"] / answer["seconds"])
    return [median(rate[1:]) for rate in rates]


def _measure_resources(workers: Sequence[WorkerProcess], indices: Ids, progress: Progress) -> list[Resources]:
    def done(number: int) -> None:
        progress("measuring memory and processor time", number, len(workers))

    return measure_resources(workers, indices.tolist(), done)


def _measure_open_loops(
    workers: Sequence[WorkerProcess], entries: Ids, config: BenchConfig, progress: Progress
) -> list[OpenLoopSamples | None]:
    """Send the same requests at the same times to one worker after the other, where a rate was asked for."""
    if config.rate is None:
        return [None] * len(workers)
    arrivals = schedule.arrivals(config.rate, config.rate_seconds, SEED)
    patience = _PATIENCE * float(arrivals[-1])
    measured: list[OpenLoopSamples | None] = []
    for which, worker in enumerate(workers):
        progress("measuring the open loop", which, len(workers))
        rounds.run(worker, entries[: config.warmup_texts])
        answer = worker.ask(
            "open_loop",
            timeout=patience + ANSWER_TIMEOUT_SECONDS,
            indices=np.resize(entries, len(arrivals)).tolist(),
            arrivals=arrivals.tolist(),
            give_up_after=patience,
        )
        starts, ends = (np.asarray(answer[name], dtype=np.float64) for name in ("starts", "ends"))
        measured.append(OpenLoopSamples(config.rate, arrivals, starts, ends))
    return measured


def _measure_minutes(
    workers: Sequence[WorkerProcess], num_baselines: int, entries: Ids, config: BenchConfig, progress: Progress
) -> list[list[Minute] | None]:
    """Let one subject after the other work without a pause, where that was asked for; never a baseline."""
    if config.minutes is None:
        return [None] * len(workers)
    measured: list[list[Minute] | None] = [None] * num_baselines
    total = 60 * config.minutes * (len(workers) - num_baselines)
    for number, worker in enumerate(workers[num_baselines:]):
        begun = 60 * config.minutes * number

        def elapsed(seconds: float, begun: int = begun) -> None:
            progress("working without a pause (seconds)", min(total, begun + int(seconds)), total)

        rounds.run(worker, entries[: config.warmup_texts])
        measured.append(sustain(worker, entries, config.minutes, elapsed))
    return measured
