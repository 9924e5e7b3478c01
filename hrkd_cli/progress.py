"""Progress of a training stage on stderr: a bar on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hrkd.artifact import StageRecord
from hrkd.metrics import DomainScores
from hrkd.training.observer import Observer, StepReport
from hrkd_cli.output import Output

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def training_observer(output: Output) -> Iterator[Observer]:
    """Yield the observer that fits stderr: nothing when quiet, a bar on a terminal, lines otherwise."""
    if output.quiet:
        yield Observer()
    elif sys.stderr.isatty():
        with BarObserver(Console(stderr=True)) as observer:
            yield observer
    else:
        yield LineObserver(output)


class LineObserver(Observer):
    """Writes plain lines: results of each validation, and the latest step about every ten seconds.

    Args:
        output: Where the lines go.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(self, output: Output, clock: Callable[[], float] = time.monotonic) -> None:
        self.output = output
        self.clock = clock
        self.stage = ""
        self.first_step = 0
        self.started_at = 0.0
        self.last_line_at = 0.0

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Say where the stage begins."""
        self.stage, self.first_step = stage, first_step
        self.started_at = self.last_line_at = self.clock()
        self.output.note(_started(stage, first_step, total_steps))

    def step(self, report: StepReport) -> None:
        """Write a line when the last one is long enough ago."""
        now = self.clock()
        if now - self.last_line_at < SECONDS_BETWEEN_LINES:
            return
        self.last_line_at = now
        seconds_per_step = (now - self.started_at) / max(1, report.step - self.first_step)
        left = duration(seconds_per_step * (report.total_steps - report.step))
        self.output.note(f"{self.stage}: step {report.step}/{report.total_steps}, {_numbers(report)}, {left} left")

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Write the validation result."""
        self.output.note(f"{self.stage}: {_validation(step, scores, is_best)}")

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Say that the stage's folder is there."""
        self.output.note(_finished(record, skipped))

    def message(self, text: str) -> None:
        """Write the line."""
        self.output.note(text)


class BarObserver(Observer):
    """Draws a bar with loss terms, learning rate, speed and time left; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> BarObserver:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Begin a bar."""
        if first_step:
            self._say(_started(stage, first_step, total_steps))
        self.task = self.progress.add_task(stage, completed=first_step, total=total_steps, numbers="")

    def step(self, report: StepReport) -> None:
        """Advance the bar."""
        if self.task is not None:
            self.progress.update(self.task, completed=report.step, numbers=_numbers(report))

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Write the validation result above the bar."""
        self._say(_validation(step, scores, is_best))

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Take the bar away and say that the stage's folder is there."""
        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None
        self._say(_finished(record, skipped))

    def message(self, text: str) -> None:
        """Write a line above the bar."""
        self._say(text)

    def _say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


def _started(stage: str, first_step: int, total_steps: int) -> str:
    where = f"going on at step {first_step} of" if first_step else "training for"
    return f"{stage}: {where} {total_steps} steps"


def _numbers(report: StepReport) -> str:
    terms = " ".join(f"{name} {value:.4g}" for name, value in report.terms.items())
    return f"{terms} lr {report.learning_rate:.2e} {report.examples_per_second:.0f} ex/s"


def _validation(step: int, scores: DomainScores, is_best: bool) -> str:
    domains = ", ".join(f"{name} {100 * score:.1f}" for name, score in scores.domains.items())
    best = " (best so far)" if is_best else ""
    return f"step {step}: validation accuracy {100 * scores.average:.1f} % ({domains}){best}"


def _finished(record: StageRecord, skipped: bool) -> str:
    return f"{record.stage}: " + ("kept, its inputs are unchanged" if skipped else "done")


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
