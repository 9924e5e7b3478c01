"""From the measured shapes to numbers for every shape of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hrkd.plan_shape import Parameters, Shape
from hrkd_bench.document.schema import Estimate, Result
from hrkd_bench.gate.budget import LATENCIES
from hrkd_bench.plan.document import PLANNED, FitQuality, PlannedShape, PlannedValue, largest_first
from hrkd_bench.plan.fit import Fit, fit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A shape with everything that is known of it before it is built.

    Attributes:
        shape: The shape.
        parameters: Its weights.
        pieces: Of its tokenizer.
        rows: Of its word embedding.
        tokenizer_bytes: Of its tokenizer's file.
        tokens: Tokens of each measured text.
    """

    shape: Shape
    parameters: Parameters
    pieces: int
    rows: int
    tokenizer_bytes: int
    tokens: tuple[int, ...]

    def features(self, metric: str) -> tuple[float, ...]:
        """Return what a metric is made of, the most important part first; see :mod:`hrkd_bench.plan.fit`."""
        if metric in LATENCIES:
            typical = float(np.quantile(self.tokens, int(metric[1:]) / 100))
            return (1e-6 * self.shape.operations(typical), 1.0, float(self.shape.layers))
        bytes_known = self.parameters.weight_bytes(self.shape.precision) + self.tokenizer_bytes
        return (1e-6 * bytes_known, 1.0, float(self.shape.layers) if metric == "size" else 0.0)


@dataclass(frozen=True, slots=True)
class _Law:
    """A fit, and the names of the shapes that it was made from."""

    metric: str
    arithmetic: str
    names: tuple[str, ...]
    fitted: Fit | None

    def predict(self, candidate: Candidate) -> Estimate | None:
        """Predict a shape; one of its own from the others."""
        if self.fitted is None:
            return None
        features = candidate.features(self.metric)
        if candidate.shape.name in self.names:
            return self.fitted.predict_measured(self.names.index(candidate.shape.name), features)
        return self.fitted.predict(features)


def predict(
    candidates: Sequence[Candidate], measured: Mapping[str, Result], fitted: Sequence[str]
) -> tuple[list[PlannedShape], list[FitQuality]]:
    """Give every shape its numbers.

    Args:
        candidates: The grid.
        measured: Results of untrained students, by the shape's name.
        fitted: Names of the measured shapes that predictions are made from. The others are only held against them.

    Returns:
        The shapes, the largest first, and how well each law describes the shapes that it was made from.
    """
    laws = {}
    for arithmetic in dict.fromkeys(candidate.shape.arithmetic for candidate in candidates):
        same = [
            candidate
            for candidate in candidates
            if candidate.shape.arithmetic == arithmetic and candidate.shape.name in fitted
        ]
        for metric in PLANNED:
            laws[arithmetic, metric] = _law(metric, arithmetic, same, measured)
    shapes = [_planned(candidate, measured.get(candidate.shape.name), laws) for candidate in candidates]
    return largest_first(shapes), [_quality(law, law.fitted) for law in laws.values() if law.fitted is not None]


def value_of(metric: str, result: Result) -> float | None:
    """Return a planned metric of a measurement; None where it was not measured, or is none that a plan knows."""
    if metric == "size":
        return float(result.size_bytes)
    if metric == "rss":
        return None if result.peak_rss_bytes is None else float(result.peak_rss_bytes)
    if metric == "cold":
        return result.cold_start_ms
    latency: float | None = getattr(result.latency_ms.end_to_end, metric) if metric in LATENCIES else None
    return latency


def _law(metric: str, arithmetic: str, same: Sequence[Candidate], measured: Mapping[str, Result]) -> _Law:
    values = [value_of(metric, measured[candidate.shape.name]) for candidate in same]
    known = [value for value in values if value is not None]
    names = tuple(candidate.shape.name for candidate in same)
    if len(known) < len(values):
        return _Law(metric, arithmetic, names, None)
    return _Law(metric, arithmetic, names, fit([candidate.features(metric) for candidate in same], known))


def _planned(candidate: Candidate, result: Result | None, laws: Mapping[tuple[str, str], _Law]) -> PlannedShape:
    shape, parameters = candidate.shape, candidate.parameters
    values = {
        metric: PlannedValue(
            predicted=laws[shape.arithmetic, metric].predict(candidate),
            measured=None if result is None else value_of(metric, result),
        )
        for metric in PLANNED
    }
    return PlannedShape(
        name=shape.name,
        layers=shape.layers,
        hidden_size=shape.hidden_size,
        attention_heads=shape.attention_heads,
        intermediate_size=shape.intermediate_size,
        precision=shape.precision,
        vocabulary=shape.vocabulary,
        encoder_weights=shape.encoder_weights,
        pieces=candidate.pieces,
        rows=candidate.rows,
        parameters=parameters.tables + parameters.matrices + parameters.vectors,
        values=values,
        valid=result is None or result.valid,
    )


def _quality(law: _Law, fitted: Fit) -> FitQuality:
    return FitQuality(
        what=f"{law.metric} of {law.arithmetic}",
        shapes=len(law.names),
        largest_error=fitted.largest_error,
        errors=dict(zip(law.names, fitted.errors.tolist(), strict=True)),
    )
