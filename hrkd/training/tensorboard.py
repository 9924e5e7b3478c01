"""TensorBoard events: loss terms, learning rate, speed, domain ratios, validation accuracy."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from hrkd.artifact import StageRecord
from hrkd.metrics import DomainScores
from hrkd.training.observer import Observer, StepReport, validation_curves


class TensorBoardObserver(Observer):
    """Writes events below ``folder/STAGE``; a resumed stage hides the events after its checkpoint, a new start all.

    Args:
        folder: Root of the run's events.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Open the event file."""
        # From the first step done again: events carry the number of steps done, so the checkpoint's own stay.
        self.writer = SummaryWriter(str(self.folder / stage), purge_step=first_step + 1)

    def step(self, report: StepReport) -> None:
        """Write one point of each curve."""
        self._write(report.curves(), report.step)

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Write validation accuracy."""
        self._write(validation_curves(scores), step)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()

    def _write(self, points: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in points.items():
                self.writer.add_scalar(name, value, step)
