"""The shape of a plan as JSON, and what is judged from it: which shapes fit a budget, the largest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hrkd_bench.document.schema import Estimate
from hrkd_bench.gate.budget import METRICS, Budget, Kind, Limit

SCHEMA_VERSION: Literal[1] = 1
PLANNED = ("p50", "p90", "p95", "p99", "size", "rss", "cold")
"""Metrics that do not depend on what was learned: milliseconds and bytes."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedValue(_Part):
    """One number of one shape.

    Attributes:
        predicted: From other shapes; None where too few were measured.
        measured: Of an untrained student; None where it was not measured, or the percentile needs more samples.
    """

    predicted: Estimate | None = None
    measured: float | None = None

    @property
    def best(self) -> float | None:
        """What is known: the measurement, or else the prediction."""
        if self.measured is not None:
            return self.measured
        return None if self.predicted is None else self.predicted.value


class PlannedShape(_Part):
    """One shape of the grid.

    Attributes:
        name: Unique within the plan.
        encoder_weights: Entries of the layers' matrices.
        pieces: Of its tokenizer.
        rows: Of its word embedding.
        parameters: All weights.
        values: By metric, of :data:`PLANNED`.
        valid: Whether nothing disturbed its measurement; True where it was only predicted.
    """

    name: str
    layers: int
    hidden_size: int
    attention_heads: int
    intermediate_size: int
    precision: str
    vocabulary: int | None
    encoder_weights: int
    pieces: int
    rows: int
    parameters: int
    values: dict[str, PlannedValue]
    valid: bool = True

    @property
    def is_measured(self) -> bool:
        """Whether an untrained student of this shape was measured."""
        return any(value.measured is not None for value in self.values.values())

    @property
    def encoder(self) -> tuple[int, int, int, int]:
        """What variants of one encoder have in common."""
        return (self.layers, self.hidden_size, self.attention_heads, self.intermediate_size)

    def misses(self, limits: Sequence[Limit]) -> dict[str, float]:
        """Return by how much it misses each limit, as a share of it; infinite where nothing is known.

        A time that something disturbed is not known.
        """
        missed = {}
        for limit in limits:
            is_known = self.valid or limit.metric.kind is not Kind.TIME
            value = self.values[limit.metric.name].best if is_known else None
            if value is None or not limit.holds(value):
                missed[limit.metric.name] = math.inf if value is None else -limit.margin(value)
        return missed

    @property
    def _rank(self) -> tuple[int, int, int]:
        return (self.encoder_weights, self.pieces, self.rows)


class FitQuality(_Part):
    """How well a law describes the measured shapes: each was predicted once from the others.

    Attributes:
        what: Metric and arithmetic.
        shapes: How many were measured.
        largest_error: Largest relative error, the cheapest and the costliest shape left aside.
        errors: Relative error by shape.
    """

    what: str
    shapes: int
    largest_error: float
    errors: dict[str, float]


class PlanDocument(_Part):
    """What `hrkd plan --json` prints.

    Attributes:
        budget: As it was written.
        not_planned: Metrics of the budget that depend on training, so that only `hrkd bench` can check them.
        target: Row of the table of targets; None where nothing is quantised.
        processor: On which it was measured.
        texts: Measured texts.
        shapes: The grid, the largest first.
        chosen: The largest measured shape within the budget.
        own: The shape of the recipe's own student.
        notes: What a reader should know.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    budget: str
    not_planned: list[str]
    target: str | None
    processor: str
    threads: int
    texts: int
    shapes: list[PlannedShape]
    fits: list[FitQuality]
    chosen: str | None
    own: str | None
    notes: list[str]

    def shape(self, name: str) -> PlannedShape:
        """Return the shape of that name."""
        return next(shape for shape in self.shapes if shape.name == name)


def planned_limits(budget: Budget) -> tuple[Limit, ...]:
    """Return the limits of a budget that do not depend on training."""
    return budget.only(PLANNED)


def unplanned_metrics(budget: Budget) -> list[str]:
    """Return the names of the others."""
    return [limit.metric.name for limit in budget.limits if limit.metric.name not in PLANNED]


def largest_first(shapes: Sequence[PlannedShape]) -> list[PlannedShape]:
    """Order by weights of the encoder, then pieces, then finer tables: of the most capable student first."""
    by_precision = sorted(shapes, key=lambda shape: "int4" in shape.precision)
    return sorted(by_precision, key=lambda shape: shape._rank, reverse=True)


def within(shapes: Sequence[PlannedShape], limits: Sequence[Limit]) -> list[PlannedShape]:
    """Return the shapes that hold every limit as far as is known, the largest first."""
    return [shape for shape in largest_first(shapes) if not shape.misses(limits)]


def proposals(shapes: Sequence[PlannedShape], limits: Sequence[Limit], count: int) -> list[PlannedShape]:
    """Return the largest fitting variant of each of the ``count`` largest encoders that fit."""
    first: dict[tuple[int, ...], PlannedShape] = {}
    for shape in within(shapes, limits):
        first.setdefault(shape.encoder, shape)
    return list(first.values())[:count]


def closest_miss(shapes: Sequence[PlannedShape], limits: Sequence[Limit]) -> tuple[PlannedShape, str, float]:
    """Return the shape whose worst miss is smallest, the metric of that miss, and its share of the limit."""
    worst = [(max(shape.misses(limits).items(), key=lambda item: item[1]), shape) for shape in shapes]
    (name, share), shape = min(worst, key=lambda entry: entry[0][1])
    return shape, name, share


def metric_kind(name: str) -> str:
    """Return the unit of a planned metric: ``ms`` or ``bytes``."""
    return METRICS[name].kind.value
