"""What the domain-relational graph said over training, thinned for the figures of the report.

The history is part of a training's :class:`~hrkd.training.state.Progress`, so every checkpoint holds it whole, and a
resumed training writes the same file as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.artifact import write_json
from hrkd.model_folder import GRAPH, GRAPH_SCHEMA_VERSION
from hrkd.training.observer import StepReport

MOST_STEPS = 200
"""Recorded steps of a training: more cannot be told apart in a figure of a phone's width."""
_DIGITS = 6  # far below what a step's noise changes; a third of the bytes


@dataclass(slots=True)
class GraphHistory:
    """Ratios of evenly spread steps, always with the first and the last one.

    Attributes:
        steps: The S recorded steps, 1-based.
        domain_ratios: R of each, (S, L+1, K).
        hierarchical_ratios: Compare-aggregate weights of the latest recorded step: level l >= 1 -> (K, l+1); empty
            without a hierarchy.
    """

    steps: list[int] = field(default_factory=list)
    domain_ratios: list[list[list[float]]] = field(default_factory=list)
    hierarchical_ratios: list[list[list[float]]] = field(default_factory=list)

    @classmethod
    def restored(cls, value: Mapping[str, Any] | None) -> GraphHistory:
        """Return the history of a checkpoint; an empty one where the checkpoint has none."""
        return cls(**(value or {}))

    def record(self, report: StepReport) -> None:
        """Keep a step's ratios if it is one of the evenly spread ones; a stage without a graph is left out."""
        if not report.domain_ratios or not is_recorded(report.step, report.total_steps):
            return
        self.steps.append(report.step)
        self.domain_ratios.append(_rounded(list(report.domain_ratios.values())))
        self.hierarchical_ratios = [_rounded(level) for level in report.hierarchical_ratios]

    def write(self, folder: Path, variant: str, domain_names: Sequence[str]) -> None:
        """Write ``graph.json`` into a model folder, unless nothing was recorded.

        Args:
            folder: The student's folder.
            variant: Name of the graph in the recipe.
            domain_names: K names, in the order of the ratios.
        """
        if not self.steps:
            return
        value = {
            "schema_version": GRAPH_SCHEMA_VERSION,
            "variant": variant,
            "domains": list(domain_names),
            "levels": len(self.domain_ratios[0]),
            "steps": self.steps,
            "domain_ratios": self.domain_ratios,
            "hierarchical_ratios": self.hierarchical_ratios,
        }
        write_json(folder / GRAPH, value)


def is_recorded(step: int, total_steps: int) -> bool:
    """Whether a step is one of the at most `MOST_STEPS` of its training that are kept.

    It follows from the two numbers alone, so that a resumed training keeps the same steps.
    """
    stride = max(1, -(-(total_steps - 1) // (MOST_STEPS - 1)))
    return (step - 1) % stride == 0 or step == total_steps


def _rounded(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[round(value, _DIGITS) for value in row] for row in rows]
