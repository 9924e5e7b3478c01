"""A plan for people: which shapes fit the budget, the largest first, and how far the others miss."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hrkd_bench.claims.words import NOT_AVAILABLE
from hrkd_bench.gate.budget import METRICS, Limit, show
from hrkd_bench.plan.document import PlanDocument, PlannedShape, PlannedValue, within

MOST_FITTING = 12
MOST_MISSING = 8
_ALWAYS = ("size", "p50", "p95")
_WORTH_SAYING = 0.01


def plan_table(document: PlanDocument, limits: Sequence[Limit]) -> Table:
    """Return the shapes that fit, the largest first, then those that miss by least."""
    metrics = list(dict.fromkeys([*_ALWAYS, *(limit.metric.name for limit in limits)]))
    caption = f"~ predicted from other shapes; {document.texts} texts, {document.threads} thread(s), * chosen"
    table = Table(title=f"Plan for {document.budget}", title_justify="left", caption=Text(caption))
    for name in ("shape", "pieces", *metrics, ""):
        table.add_column(name, justify="left" if name in ("shape", "") else "right")
    for shape in _shown(document, limits):
        cells = [_cell(metric, shape.values[metric]) for metric in metrics]
        mark = " *" if shape.name == document.chosen else " (recipe)" if shape.name == document.own else ""
        table.add_row(Text(f"{shape.name}{mark}"), str(shape.pieces), *map(Text, cells), Text(_verdict(shape, limits)))
    return table


def plan_lines(document: PlanDocument) -> list[str]:
    """Say what was chosen, how far predictions can be trusted, and what nobody can plan."""
    lines = []
    if document.chosen is not None:
        lines.append(f"chosen: {document.chosen}, the largest measured shape within the budget")
    lines += [
        f"predictions of {fit.what}: off by at most {100 * fit.largest_error:.1f} % where a measured shape was "
        f"predicted from the {fit.shapes - 1} others"
        for fit in document.fits
        if fit.what.split()[0] in _ALWAYS
    ]
    if document.not_planned:
        lines.append(f"not planned, known only after training: {', '.join(document.not_planned)} (`hrkd bench` checks)")
    return [*lines, *document.notes]


def miss_words(limit: Limit, value: float | None, share: float) -> str:
    """Say by how much a value misses a limit."""
    if value is None or math.isinf(share):
        return f"has no {limit.metric.name} that can be relied on, {limit.text} is asked for"
    shown = show(limit.metric.kind, value)
    return f"misses {limit.metric.name} by {100 * share:.0f} % ({shown}, {limit.text} is asked for)"


def _shown(document: PlanDocument, limits: Sequence[Limit]) -> list[PlannedShape]:
    fitting = within(document.shapes, limits)
    names = {shape.name for shape in fitting}
    missing = [shape for shape in document.shapes if shape.name not in names]
    nearest = sorted(missing, key=lambda shape: max(shape.misses(limits).values()))[:MOST_MISSING]
    kept = [*fitting[:MOST_FITTING], *nearest]
    special = {document.chosen, document.own} - {shape.name for shape in kept}
    return [*kept, *(shape for shape in document.shapes if shape.name in special)]


def _cell(metric: str, value: PlannedValue) -> str:
    """Show a measurement with its prediction in brackets, or a prediction with its wider bound."""
    kind, predicted = METRICS[metric].kind, value.predicted
    if predicted is None:
        return NOT_AVAILABLE if value.measured is None else show(kind, value.measured)
    if value.measured is not None:
        return f"{show(kind, value.measured)} (~{show(kind, predicted.value)})"
    spread = max(predicted.high - predicted.value, predicted.value - predicted.low) / predicted.value
    return f"~{show(kind, predicted.value)}" + (f" ±{100 * spread:.0f} %" if spread >= _WORTH_SAYING else "")


def _verdict(shape: PlannedShape, limits: Sequence[Limit]) -> str:
    missed = shape.misses(limits)
    doubt = "" if shape.valid else ", measurement INVALID"
    if not missed:
        return ("fits, measured" if shape.is_measured else "seems to fit") + doubt
    parts = [f"{name} by {100 * share:.0f} %" if math.isfinite(share) else name for name, share in missed.items()]
    return f"misses {', '.join(parts)}" + doubt
