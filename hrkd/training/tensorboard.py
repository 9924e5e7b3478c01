"""TensorBoard events: loss terms, learning rate, speed, domain ratios, validation accuracy."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from hrkd.artifact import StageRecord
from hrkd.metrics import DomainScores
from hrkd.training.observer import Observer, StepReport


class TensorBoardObserver(Observer):
    """Writes events below ``folder/STAGE``; a resumed stage hides the events after its checkpoint.

    Args:
        folder: Root of the run's events.
        domain_names: For the names of the ratio curves.
    """

    def __init__(self, folder: Path, domain_names: tuple[str, ...]) -> None:
        self.folder = folder
        self.domain_names = domain_names
        self.writer: SummaryWriter | None = None

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Open the event file."""
        self.writer = SummaryWriter(str(self.folder / stage), purge_step=first_step or None)

    def step(self, report: StepReport) -> None:
        """Write one point of each curve."""
        if self.writer is None:
            return
        for name, value in report.terms.items():
            self.writer.add_scalar(f"loss/{name}", value, report.step)
        self.writer.add_scalar("training/learning_rate", report.learning_rate, report.step)
        self.writer.add_scalar("training/examples_per_second", report.examples_per_second, report.step)
        for level, ratios in report.domain_ratios.items():
            for domain, ratio in zip(self.domain_names, ratios, strict=True):
                self.writer.add_scalar(f"domain_ratios/{level}/{domain}", ratio, report.step)

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Write validation accuracy."""
        if self.writer is None:
            return
        self.writer.add_scalar("validation/average", scores.average, step)
        for domain, score in scores.domains.items():
            self.writer.add_scalar(f"validation/{domain}", score, step)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
