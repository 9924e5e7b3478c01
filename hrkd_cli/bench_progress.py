"""Progress of a measurement on stderr; kept apart from training's, which needs torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hrkd.printable import printable
from hrkd_cli.output import Output

SECONDS_BETWEEN_LINES = 10.0
Report = Callable[[str, int, int], None]
"""Called with phase, steps done and steps in all."""


@contextmanager
def bench_progress(output: Output) -> Iterator[Report | None]:
    """Yield what `bench` shall call, fitting stderr: nothing when quiet, a bar on a terminal, lines otherwise."""
    if output.quiet:
        yield None
    elif sys.stderr.isatty():
        phase = TextColumn("{task.description}", markup=False)
        columns = (phase, BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield bar_report(progress)
    else:
        yield line_report(output)


def bar_report(progress: Progress) -> Report:
    """Return a report that keeps one bar per phase."""
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            tasks[phase] = progress.add_task(printable(phase), total=total)
        progress.update(tasks[phase], completed=done, total=total)

    return report


def line_report(output: Output, clock: Callable[[], float] = time.monotonic) -> Report:
    """Return a report that writes a line when a phase begins, and about every ten seconds.

    Args:
        output: Where the lines go.
        clock: Monotonic seconds; replaced in tests.
    """
    phase_before, last = "", clock()

    def report(phase: str, done: int, total: int) -> None:
        nonlocal phase_before, last
        now = clock()
        if phase == phase_before and now - last < SECONDS_BETWEEN_LINES:
            return
        phase_before, last = phase, now
        output.note(f"bench: {phase} {done}/{total}")

    return report
