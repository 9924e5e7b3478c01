"""Latency, memory and size of shapes that were not built, from those that were.

A number is ``a + b x operations + c x layers`` (latency), or ``a + b x bytes`` (memory, cold start), no coefficient
below 0, fitted to relative errors. How good that is, is measured: every shape is predicted once from the others. The
cheapest and the costliest of them do not count there: they span the grid, so nothing is predicted beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hrkd_bench.document.schema import Estimate

_USUAL = 0.01  # relative error of a median on a quiet machine
_ITERATIONS = 20
FEWEST = 4
"""Fewest measured shapes from which others are predicted."""
Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted law.

    Attributes:
        coefficients: Of all measured shapes, (k,).
        without: Of all but the i-th, (n, k).
        left_out: Prediction of the i-th shape from the others, (n,).
        errors: Relative error of these, (n,).
        inner: Which of them lie between the cheapest and the costliest, (n,).
    """

    coefficients: Row
    without: Row
    left_out: Row
    errors: Row
    inner: NDArray[np.bool_]

    @property
    def largest_error(self) -> float:
        """Largest relative error of an inner shape that was predicted from the others."""
        return float(np.abs(self.errors[self.inner]).max())

    def predict(self, features: Sequence[float]) -> Estimate:
        """Predict a shape that was not measured.

        Returns:
            The value; its bounds are the lowest and highest prediction when each inner shape is left out once, widened
            by the largest error so found (jackknife minmax).
        """
        row = np.asarray(features, dtype=np.float64)
        return self._estimate(float(row @ self.coefficients), self.without[self.inner] @ row)

    def predict_measured(self, index: int, features: Sequence[float]) -> Estimate:
        """Predict the i-th measured shape from the others alone, so that the prediction can be held against it."""
        others = self.without[self.inner] @ np.asarray(features, dtype=np.float64)
        return self._estimate(float(self.left_out[index]), others)

    def _estimate(self, value: float, spread: Row) -> Estimate:
        low = float(min(value, spread.min())) * max(0.0, 1 - self.largest_error)
        return Estimate(value=value, low=low, high=float(max(value, spread.max())) * (1 + self.largest_error))


def fit(features: Sequence[Sequence[float]], values: Sequence[float]) -> Fit | None:
    """Fit a law to measured shapes.

    Args:
        features: n rows of k numbers of at least 0, the most important column first; with few rows only the first
            ``n - 2`` columns are used, so that leaving one out still says something.
        values: n measured numbers above 0.

    Returns:
        The law; None with fewer than :data:`FEWEST` rows.
    """
    rows, measured = np.asarray(features, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(rows) < FEWEST:
        return None
    rows = rows.copy()
    rows[:, len(rows) - 2 :] = 0.0
    indices = range(len(rows))
    without = np.stack([_solve(np.delete(rows, index, 0), np.delete(measured, index)) for index in indices])
    left_out = np.einsum("nk,nk->n", rows, without)
    order = rows[:, 0].argsort()
    inner = np.isin(np.arange(len(rows)), order[1:-1])
    return Fit(_solve(rows, measured), without, left_out, left_out / measured - 1, inner)


def _solve(rows: Row, values: Row) -> Row:
    """Return coefficients of at least 0 with small relative errors; a few shapes that obey another law do not bend it.

    Errors count as squares up to :data:`_USUAL` and as they are beyond it (Huber), by least squares with weights.
    """
    scaled, weights = rows / values[:, None], np.ones(len(values))
    for _ in range(_ITERATIONS):
        coefficients = _least_squares(scaled, weights)
        weights = np.minimum(1.0, np.sqrt(_USUAL / np.maximum(np.abs(scaled @ coefficients - 1.0), _USUAL)))
    return coefficients


def _least_squares(scaled: Row, weights: Row) -> Row:
    """Return coefficients of at least 0 that bring the rows nearest to 1, by trying every set of columns."""
    best, smallest = np.zeros(scaled.shape[1]), np.inf
    used = [column for column in range(scaled.shape[1]) if scaled[:, column].any()]
    for count in range(1, len(used) + 1):
        for columns in combinations(used, count):
            weighted = scaled[:, columns] * weights[:, None]
            part = np.linalg.lstsq(weighted, weights, rcond=None)[0]
            error = float(np.sum((weighted @ part - weights) ** 2))
            if (part >= 0).all() and error < smallest - 1e-12:
                smallest, best = error, np.zeros(scaled.shape[1])
                best[list(columns)] = part
    return best
