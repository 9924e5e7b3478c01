"""One A/B measurement of two settings of the same bundle: fresh processes in every round, in turns over real texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrkd.engines import Setting
from hrkd.metrics import Interval
from hrkd_bench.claims import ratio
from hrkd_bench.document.parts import Verdict
from hrkd_bench.examples import EvaluationTexts
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.measurement import rounds
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.rounds import Recorder
from hrkd_bench.measurement.samples import Ids
from hrkd_bench.subjects import Subject


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a session that cost or save time without changing answers.

    Attributes:
        threads: Of one answer.
        allow_spinning: Whether idle threads burn processor time to start faster.
        enable_cpu_mem_arena: Whether memory is kept for the next answer.
        enable_mem_pattern: Whether all buffers of an answer are planned as one.
    """

    threads: int
    allow_spinning: bool
    enable_cpu_mem_arena: bool
    enable_mem_pattern: bool

    def session(self) -> Mapping[str, Setting]:
        """Return them as a manifest writes them."""
        return {
            "intra_op_num_threads": self.threads,
            "allow_spinning": self.allow_spinning,
            "enable_cpu_mem_arena": self.enable_cpu_mem_arena,
            "enable_mem_pattern": self.enable_mem_pattern,
        }

    @property
    def words(self) -> str:
        """Short, for a table."""
        switches = (
            (self.allow_spinning, "spinning"),
            (self.enable_cpu_mem_arena, "arena"),
            (self.enable_mem_pattern, "pattern"),
        )
        return ", ".join([f"{self.threads} thread(s)", *(f"{'' if on else 'no '}{name}" for on, name in switches)])


@dataclass(frozen=True, slots=True)
class Side:
    """A bundle with one set of settings."""

    subject: Subject
    settings: Settings


@dataclass(frozen=True, slots=True)
class Trial:
    """Some settings against others.

    Attributes:
        settings: What was tried.
        against: What it was compared with.
        speedup: How many times faster it answers a text, the median over texts, with Student's interval over rounds.
        verdict: FASTER or SLOWER where the whole interval lies beyond the difference that matters.
        p50_ms: Median of all its answers.
        against_p50_ms: Likewise of the other.
        rss_bytes: What its process held at the end; None where the system does not say.
        against_rss_bytes: Likewise of the other.
        same_labels: Whether both gave every text the same label.
    """

    settings: Settings
    against: Settings
    speedup: Interval
    verdict: Verdict
    p50_ms: float
    against_p50_ms: float
    rss_bytes: int | None
    against_rss_bytes: int | None
    same_labels: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How an A/B measurement is made.

    Attributes:
        texts: Where the texts come from.
        positions: The texts to answer, ascending.
        entries: Them in the order of measuring, as often as wanted.
        warmup_texts: Answers of each process before it counts.
        smallest_difference: Share of the latency that matters.
        limits: What each process may use.
    """

    texts: EvaluationTexts
    positions: Ids
    entries: Ids
    warmup_texts: int
    smallest_difference: float
    limits: Limits


def run_trial(candidate: Side, incumbent: Side, number_of_rounds: int, plan: Plan) -> Trial:
    """Compare two sides.

    Args:
        candidate: What is tried.
        incumbent: What it is compared with.
        number_of_rounds: Two at least: one does not say how much rounds differ.
        plan: The rest.

    Raises:
        BenchError: A process failed.
    """
    sides = (incumbent, candidate)
    recorders = [Recorder(side.subject) for side in sides]
    held: list[int | None] = [None, None]
    for number, chunk in enumerate(np.array_split(plan.entries, number_of_rounds)):
        with ExitStack() as stack:
            workers = [_start(stack, side, plan) for side in sides]
            rounds.measure_texts(workers, recorders, number, chunk, (1, 1), _nothing)
            held = [worker.ask("memory")["rss_bytes"] for worker in workers]
    old, new = (recorder.samples(plan.positions) for recorder in recorders)
    speedup = ratio.ratio_interval(ratio.round_ratios(old.text_ms_by_round(), new.text_ms_by_round()))
    return Trial(
        settings=candidate.settings,
        against=incumbent.settings,
        speedup=speedup,
        verdict=ratio.verdict(speedup, plan.smallest_difference),
        p50_ms=float(np.median(new.end_to_end_ms)),
        against_p50_ms=float(np.median(old.end_to_end_ms)),
        rss_bytes=held[1],
        against_rss_bytes=held[0],
        same_labels=bool((old.logits.argmax(axis=1) == new.logits.argmax(axis=1)).all()),
    )


def _start(stack: ExitStack, side: Side, plan: Plan) -> WorkerProcess:
    worker = stack.enter_context(WorkerProcess(side.subject, side.settings.threads, plan.limits))
    worker.load(plan.texts.examples[0])
    worker.ask("open", examples=str(plan.texts.path.resolve()))
    rounds.warm_up(worker, plan.entries, plan.warmup_texts)
    return worker


def _nothing(texts: int) -> None:
    """Report to nobody."""


def as_document(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return trials as plain values for JSON."""
    return [
        {
            "settings": dict(trial.settings.session()),
            "against": dict(trial.against.session()),
            "speedup": {"value": trial.speedup.value, "low": trial.speedup.low, "high": trial.speedup.high},
            "verdict": trial.verdict,
            "p50_ms": round(trial.p50_ms, 4),
            "against_p50_ms": round(trial.against_p50_ms, 4),
            "rss_bytes": trial.rss_bytes,
            "against_rss_bytes": trial.against_rss_bytes,
            "same_labels": trial.same_labels,
        }
        for trial in trials
    ]
