"""What training tells the outside: one interface for progress bars, TensorBoard and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hrkd.artifact import StageRecord
from hrkd.metrics import DomainScores


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimisation step.

    Attributes:
        step: Steps done, 1-based.
        total_steps: Steps of the whole stage.
        terms: ``loss`` and its terms before weighting.
        learning_rate: Of this step.
        examples_per_second: Over this process's last steps.
        domain_names: K names, in the order of all ratios.
        domain_ratios: Per level name (``level_0`` ...), R over domains; empty for a teacher.
        hierarchical_ratios: Per level l >= 1 the compare-aggregate weights (K, l+1); empty without a hierarchy.
    """

    step: int
    total_steps: int
    terms: Mapping[str, float]
    learning_rate: float
    examples_per_second: float
    domain_names: Sequence[str] = ()
    domain_ratios: Mapping[str, list[float]] = field(default_factory=dict)
    hierarchical_ratios: Sequence[list[list[float]]] = ()

    def curves(self) -> dict[str, float]:
        """Return one point of every curve that is drawn over the steps."""
        return {
            **{f"loss/{name}": value for name, value in self.terms.items()},
            "training/learning_rate": self.learning_rate,
            "training/examples_per_second": self.examples_per_second,
            **{
                f"domain_ratios/{level}/{domain}": ratio
                for level, ratios in self.domain_ratios.items()
                for domain, ratio in zip(self.domain_names, ratios, strict=True)
            },
        }


def validation_curves(scores: DomainScores) -> dict[str, float]:
    """Return the points that an evaluation adds to them."""
    domains = {f"validation/{domain}": score for domain, score in scores.domains.items()}
    return {"validation/average": scores.average, **domains}


class Observer:
    """Base whose methods do nothing; override what is of interest."""

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """A training stage begins, or goes on at ``first_step`` steps done."""

    def step(self, report: StepReport) -> None:
        """A step is done."""

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """The validation split was scored."""

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """The stage's folder is complete; ``skipped`` when it was before."""

    def message(self, text: str) -> None:
        """Something worth a line."""


class Observers(Observer):
    """Hands everything on to several observers."""

    def __init__(self, members: Sequence[Observer]) -> None:
        self.members = members

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Hand on."""
        for member in self.members:
            member.started(stage, first_step, total_steps)

    def step(self, report: StepReport) -> None:
        """Hand on."""
        for member in self.members:
            member.step(report)

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Hand on."""
        for member in self.members:
            member.evaluated(step, scores, is_best)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """Hand on."""
        for member in self.members:
            member.finished(record, skipped)

    def message(self, text: str) -> None:
        """Hand on."""
        for member in self.members:
            member.message(text)
