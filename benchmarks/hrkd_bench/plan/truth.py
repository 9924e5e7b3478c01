"""After distilling: what `hrkd plan` expected of the student beside what was measured on it."""

from __future__ import annotations

from dataclasses import dataclass

from hrkd.recipe import PlanConfig
from hrkd_bench.claims.words import NOT_AVAILABLE
from hrkd_bench.document.schema import BenchDocument
from hrkd_bench.gate.budget import METRICS, Kind, show
from hrkd_bench.plan.predict import value_of


@dataclass(frozen=True, slots=True)
class Expectation:
    """One number, expected and real; milliseconds or bytes.

    Attributes:
        metric: Its name.
        predicted: From other shapes.
        low: Lower bound of the prediction.
        high: Upper bound.
        untrained: Measured on a student of this shape with random weights; None where it was not.
        truth: Measured on the distilled student; None where the percentile needs more samples.
    """

    metric: str
    predicted: float
    low: float
    high: float
    untrained: float | None
    truth: float | None

    @property
    def error(self) -> float | None:
        """Relative error of the prediction; None without a truth."""
        return None if self.truth is None else self.predicted / self.truth - 1

    @property
    def untrained_error(self) -> float | None:
        """Relative error of the measurement of the untrained student."""
        return None if self.truth is None or self.untrained is None else self.untrained / self.truth - 1

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return metric, prediction with bounds, untrained, truth and errors as people read them."""
        kind = METRICS[self.metric].kind
        bounds = f"{_shown(kind, self.predicted)} ({_shown(kind, self.low)} to {_shown(kind, self.high)})"
        errors = " / ".join(_percent(error) for error in (self.error, self.untrained_error))
        return self.metric, bounds, _shown(kind, self.untrained), _shown(kind, self.truth), errors


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """A plan against a measurement.

    Attributes:
        shape: The planned shape.
        expectations: One per planned number.
        caveats: Why the two cannot be compared, where they cannot.
    """

    shape: str
    expectations: list[Expectation]
    caveats: list[str]


def prediction_against_truth(plan: PlanConfig, document: BenchDocument) -> PlanCheck | None:
    """Compare a recipe's plan with the measurement of its student.

    Args:
        plan: Section ``plan`` of the recipe.
        document: Of the run; its first student that is no baseline is the planned one.

    Returns:
        None where the document holds no such student.
    """
    students = [result for result in document.results if result.role == "student" and not result.is_baseline]
    if not students:
        return None
    student = students[0]
    caveats = []
    if document.environment.cpu != plan.processor:
        caveats.append(f"planned on {plan.processor}, measured on {document.environment.cpu}")
    if student.threads != plan.threads:
        caveats.append(f"planned for {plan.threads} thread(s), measured with {student.threads}")
    if not student.valid:
        caveats.append(f"the measurement is invalid: {'; '.join(student.invalid_reasons)}")
    expectations = [
        Expectation(name, number.predicted, number.low, number.high, number.untrained, value_of(name, student))
        for name, number in plan.numbers.items()
        if name in METRICS
    ]
    return PlanCheck(plan.shape, expectations, caveats)


def _shown(kind: Kind, value: float | None) -> str:
    return NOT_AVAILABLE if value is None else show(kind, value)


def _percent(share: float | None) -> str:
    return NOT_AVAILABLE if share is None else f"{100 * share:+.1f} %"
