"""What the answers are worth: accuracy per domain, calibration, and the difference of two subjects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrkd.metrics import accuracy, average_accuracy_interval, expected_calibration_error, macro_f1_by_domain
from hrkd.significance import mcnemar_p, paired_share_interval, wilson_interval
from hrkd_bench.document.parts import Accuracy, DomainComparison, Estimate
from hrkd_bench.examples import EvaluationTexts, Ids

Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the answers are checked against, for the measured texts only; arrays of shape (n,)."""

    labels: Ids
    domains: Ids
    teacher_predictions: Ids
    label_names: tuple[str, ...]
    domain_names: tuple[str, ...]

    @classmethod
    def of(
        cls, texts: EvaluationTexts, positions: Ids, label_names: tuple[str, ...], domain_names: tuple[str, ...]
    ) -> Truth:
        """Keep the texts at ``positions``."""
        labels, domains = texts.labels[positions], texts.domains[positions]
        return cls(labels, domains, texts.teacher_predictions[positions], label_names, domain_names)

    def by_domain(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield each domain that has texts, with which texts are its own."""
        for number, name in enumerate(self.domain_names):
            chosen = self.domains == number
            if chosen.any():
                yield name, chosen


def accuracy_of(logits: Logits, truth: Truth) -> Accuracy:
    """Summarise one subject's answers, logits of shape (n, C)."""
    predictions = np.argmax(logits, axis=1)
    correct = predictions == truth.labels
    scores = accuracy(predictions, truth.labels, truth.domains, truth.domain_names)
    f1 = macro_f1_by_domain(predictions, truth.labels, truth.domains, truth.domain_names, len(truth.label_names))
    whole = average_accuracy_interval(correct, truth.domains)
    return Accuracy(
        average=scores.average,
        average_interval=(whole.low, whole.high),
        worst=scores.worst,
        worst_domain=min(scores.domains, key=scores.domains.__getitem__),
        domains=scores.domains,
        domain_intervals={
            name: wilson_interval(int(correct[chosen].sum()), int(chosen.sum())) for name, chosen in truth.by_domain()
        },
        macro_f1=f1.average,
        domain_macro_f1=f1.domains,
        calibration_error=expected_calibration_error(_probabilities(logits), truth.labels),
    )


def compare_domains(subject: Logits, baseline: Logits, truth: Truth) -> list[DomainComparison]:
    """Return the difference in each domain, the one that lost most first."""
    own, other = (np.argmax(logits, axis=1) == truth.labels for logits in (subject, baseline))
    compared = []
    for name, chosen in truth.by_domain():
        gained, lost = differing(own[chosen], other[chosen])
        interval = paired_share_interval(gained, lost, int(chosen.sum()))
        compared.append(
            DomainComparison(
                domain=name,
                texts=int(chosen.sum()),
                difference=Estimate(value=interval.value, low=interval.low, high=interval.high),
                gained=gained,
                lost=lost,
                p_value=mcnemar_p(gained, lost),
            )
        )
    return sorted(compared, key=lambda comparison: comparison.difference.value)


def differing(own: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """Return on how many texts only the first is right, and only the second; shapes (n,)."""
    return int(np.sum(own & ~other)), int(np.sum(other & ~own))


def _probabilities(logits: Logits) -> Logits:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Logits = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
