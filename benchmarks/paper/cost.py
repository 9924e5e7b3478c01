"""What a training took, added up over its attempts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from hrkd.artifact import StageRecord, read_json, write_json
from hrkd.training.observer import Observer, StepReport
from paper.documents import Cost

FILE = "cost.json"


class Meter(Observer):
    """Notes steps and speed; its sums survive an interruption in a file of the run's work folder."""

    def __init__(self, seconds: float = 0.0, speeds: list[float] | None = None, attempts: int = 0) -> None:
        self.seconds = seconds
        self.speeds = speeds if speeds is not None else []
        self.attempts = attempts
        self.steps = 0
        self.skipped = False

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Count the steps of a training."""
        self.steps += total_steps

    def step(self, report: StepReport) -> None:
        """Note the present speed."""
        self.speeds.append(report.examples_per_second)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Note whether there was anything to do."""
        self.skipped = skipped

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON; a thousand speeds are enough for a median."""
        speeds = self.speeds[:: 1 + len(self.speeds) // 1000]
        return {"seconds": self.seconds, "speeds": speeds, "attempts": self.attempts, "steps": self.steps}

    def cost(self, total_steps: int | None = None) -> Cost:
        """Return the sums; the run's own record of its steps, where it has one, is better than what was seen here."""
        return Cost(
            wall_seconds=round(self.seconds, 1),
            total_steps=self.steps if total_steps is None else total_steps,
            examples_per_second=round(median(self.speeds), 1) if self.speeds else None,
            resumed=self.attempts > 1,
        )


@contextmanager
def metered(folder: Path) -> Iterator[Meter]:
    """Measure the block as one attempt of the run whose work folder this is; :func:`settle` ends the sum."""
    path = folder / FILE
    earlier: dict[str, Any] = read_json(path) if path.is_file() else {"seconds": 0.0, "speeds": [], "attempts": 0}
    meter = Meter(earlier["seconds"], list(earlier["speeds"]), earlier["attempts"])
    start = time.perf_counter()
    try:
        yield meter
    finally:
        meter.steps = max(meter.steps, earlier.get("steps", 0))
        if not meter.skipped:
            meter.seconds += time.perf_counter() - start
            meter.attempts += 1
            write_json(path, meter.state())


def settle(folder: Path) -> None:
    """Forget the sums of a run whose result is written, so that another run of it starts at zero."""
    (folder / FILE).unlink(missing_ok=True)
