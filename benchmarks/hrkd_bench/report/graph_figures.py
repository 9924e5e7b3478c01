"""The domain-relational graph as figures: domain ratios over training, and which levels a domain looks back at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrkd_bench.document.graph import GraphDocument
from hrkd_bench.report.drawing import (
    INK,
    LINES,
    LONGEST_TICK,
    MARKERS,
    SERIES,
    legend_above,
    new_figure,
    pick,
    shortened,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRONGEST_TINT = 0.5  # ink stays readable on it, on light and on dark paper
_MOST_WIDE_COLUMNS = 7  # more of them need narrower numbers
_SHORT_NAME = 18  # characters of names that fit two to a line into the legend


def averaging_window(steps: int) -> int:
    """Return over how many recorded steps the lines are averaged: about a twentieth of them, an odd number."""
    return 1 if steps < 30 else 2 * (steps // 40) + 1


def smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the centred running mean along the first axis; at the ends over the neighbours that there are."""
    if window == 1:
        return values  # exactly, so that nothing is drawn twice
    totals = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    places = np.arange(len(values))
    low = np.maximum(places - window // 2, 0)
    high = np.minimum(places + window // 2 + 1, len(values))
    counts = (high - low).reshape(-1, *[1] * (values.ndim - 1))
    means: NDArray[np.float64] = (totals[high] - totals[low]) / counts
    return means


def ratios_figure(graph: GraphDocument) -> str:
    """Draw one panel per level with the ratio of every domain over training, and 1/K as the line to compare with."""
    ratios = np.asarray(graph.domain_ratios)  # (S, L+1, K)
    means = smoothed(ratios, averaging_window(len(ratios)))
    columns = min(2, graph.levels)
    rows = math.ceil(graph.levels / columns)
    names = [shortened(domain, LONGEST_TICK) for domain in graph.domains]
    entries = 2 if max(map(len, names)) <= _SHORT_NAME else 1
    height = 0.5 + 0.19 * math.ceil((len(names) + 1) / entries) + 1.35 * rows
    with new_figure("graph-ratios", height) as figure:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for level, axes in enumerate(panels[: graph.levels]):
            axes.axhline(1 / len(names), color=INK, alpha=0.22, linewidth=3.5, solid_capstyle="butt", zorder=1)
            for number in range(len(names)):
                _draw_domain(axes, graph.steps, ratios[:, level, number], means[:, level, number], number)
            axes.set_title(_level_name(level), fontsize=9, loc="left", pad=3)
            axes.grid(alpha=0.25)
        for axes in panels[graph.levels :]:
            axes.set_visible(False)
        panels[0].set_ylim(0, 1.05 * max(float(ratios.max()), 1.4 / len(names)))
        if len(graph.steps) == 1:
            panels[0].set_xlim(graph.steps[0] - 1, graph.steps[0] + 1)
        _few_ticks(panels[0])
        figure.supxlabel("training step", fontsize=9)
        figure.supylabel("domain ratio", fontsize=9)
        handles = [panels[0].lines[0], *(line for line in panels[0].lines if not line.get_label().startswith("_"))]
        legend_above(figure, handles=handles, labels=[f"1/K = {1 / len(names):.3g}", *names], ncols=entries)
        return to_svg(figure, "graph-ratios")


def weights_figure(graph: GraphDocument) -> str:
    """Draw one heat map per level l >= 1: rows are domains, columns the levels 0..l, the weight in every cell.

    The columns of all maps stand under each other, so that one level's share can be followed downwards.
    """
    names = [shortened(domain, LONGEST_TICK) for domain in graph.domains]
    maps, columns = len(graph.hierarchical_ratios), graph.levels
    strongest = max(weight for rows in graph.hierarchical_ratios for row in rows for weight in row)
    dense = columns > _MOST_WIDE_COLUMNS
    row_height = 0.16 if dense else 0.23
    with new_figure("graph-weights", 0.35 + maps * (0.3 + row_height * len(names))) as figure:
        panels = figure.subplots(maps, 1, sharex=True, squeeze=False).flatten()
        for level, (axes, rows) in enumerate(zip(panels, graph.hierarchical_ratios, strict=True), start=1):
            for place, row in enumerate(rows):
                for column, weight in enumerate(row):
                    _draw_cell(axes, place, column, weight, strongest, columns)
            axes.set_title(_level_name(level), fontsize=9, loc="left", pad=3)
            axes.set_yticks(range(len(names)), names, fontsize=7 if dense else 9)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        panels[-1].set_xlim(-0.5, columns - 0.5)
        panels[-1].set_xticks(range(columns), [str(level) for level in range(columns)])
        panels[-1].set_xlabel("weight of the domain's own prototype of level ...")
        return to_svg(figure, "graph-weights")


def _draw_domain(
    axes: Axes, steps: list[int], values: NDArray[np.float64], means: NDArray[np.float64], number: int
) -> None:
    """Draw what was recorded as a faint line and its running mean as the line of this domain."""
    colour, style = pick(SERIES, number), pick(LINES, number)
    if not np.array_equal(values, means):
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.5)
    lap = number // len(LINES)  # colours and lines start over: from then on a marker tells them apart
    marks: dict[str, Any] = {"marker": pick(MARKERS, lap - 1), "markersize": 3.5, "markevery": 0.2} if lap else {}
    if len(steps) == 1:
        marks = {"marker": pick(MARKERS, number), "markersize": 4}
    axes.plot(steps, means, color=colour, linestyle=style, linewidth=1.5, label=f"domain {number}", **marks)


def _draw_cell(axes: Axes, place: int, column: int, weight: float, strongest: float, columns: int) -> None:
    from matplotlib.patches import Rectangle

    tint = _STRONGEST_TINT * weight / strongest
    axes.add_patch(Rectangle((column - 0.49, place - 0.47), 0.98, 0.94, facecolor=SERIES[0], alpha=tint, linewidth=0))
    text = f"{weight:.2f}" if columns <= _MOST_WIDE_COLUMNS else f"{weight:.2f}".removeprefix("0")
    size = min(8.5, 90 / columns)
    axes.text(column, place, text, ha="center", va="center_baseline", fontsize=size, color=INK)


def _few_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _level_name(level: int) -> str:
    return f"level {level}" if level else "level 0, embeddings"
