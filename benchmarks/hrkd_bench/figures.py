"""The report's figures as SVG text that takes its colours from the page, so that light and dark both work.

Every series has a marker or hatch of its own beside its colour. Text stays text: it can be searched, and it is read
in the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.errors import MissingExtraError
from hrkd_bench.document import Result
from hrkd_bench.words import milliseconds, size, subject_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

_WIDTH = 4.3  # inches; about the width of a phone, so that nothing is scaled down there
_LONGEST_TICK, _LONGEST_LABEL = 20, 48  # characters that leave room for the plot; the tables have the whole names
_INK = "#010203"
_SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
# matplotlib wants real colours; these stand for the page's variables and are replaced in the finished SVG.
_VARIABLES = {_INK: "var(--ink)"} | {colour: f"var(--series-{i})" for i, colour in enumerate(_SERIES, start=1)}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def accuracy_figure(results: Sequence[Result], domains: Sequence[str]) -> str:
    """Draw accuracy per domain, one marker with its 95 % interval per subject."""
    height = 1.2 + len(domains) * (0.22 + 0.16 * len(results))
    with _axes("accuracy", height) as (figure, axes):
        for number, result in enumerate(results):
            shift = (number - (len(results) - 1) / 2) * 0.16
            values = np.asarray([100 * result.accuracy.domains[domain] for domain in domains])
            bounds = 100 * np.asarray([result.accuracy.domain_intervals[domain] for domain in domains])
            axes.errorbar(
                values,
                np.arange(len(domains)) + shift,
                xerr=[values - bounds[:, 0], bounds[:, 1] - values],
                fmt=_pick(_MARKERS, number),
                color=_pick(_SERIES, number),
                markersize=5,
                capsize=2,
                linewidth=1,
                label=_shortened(subject_label(result), _LONGEST_LABEL),
            )
        axes.set_yticks(range(len(domains)), [_shortened(domain, _LONGEST_TICK) for domain in domains])
        axes.invert_yaxis()
        axes.set_xlabel("accuracy in %, with 95 % interval")
        axes.grid(axis="x", alpha=0.25)
        _legend_above(figure)
        return _svg(figure, "accuracy")


def latency_figure(results: Sequence[Result]) -> str:
    """Draw the share of texts answered within a time, per subject, on a logarithmic axis."""
    with _axes("latency", 2.5 + 0.2 * len(results)) as (figure, axes):
        for number, result in enumerate(results):
            times = np.sort(np.asarray(result.samples_ms))
            shares = 100 * np.arange(1, len(times) + 1) / len(times)
            # A few hundred steps look the same as thousands and keep the page small.
            kept = np.unique(np.linspace(0, len(times) - 1, 300).astype(int))
            style: Any = _pick(_LINES, number)
            name = _shortened(subject_label(result), _LONGEST_LABEL - 14)
            axes.plot(
                times[kept],
                shares[kept],
                linestyle=style,
                color=_pick(_SERIES, number),
                linewidth=1.6,
                label=f"{name}: p50 {milliseconds(result.latency_ms.end_to_end.p50)}",
            )
        axes.set_xscale("log")
        _plain_log_ticks(axes)
        axes.set_xlabel("milliseconds for one text, end to end (log scale)")
        axes.set_ylabel("texts answered, %")
        axes.grid(alpha=0.25)
        _legend_above(figure)
        return _svg(figure, "latency")


def size_figure(results: Sequence[Result]) -> str:
    """Draw the size on disk of each subject as a labelled bar."""
    with _axes("size", 0.7 + 0.5 * len(results)) as (figure, axes):
        megabytes = [result.size_bytes / 1e6 for result in results]
        for number, result in enumerate(results):
            bar = axes.barh(
                number,
                megabytes[number],
                height=0.34,
                facecolor="none",
                edgecolor=_pick(_SERIES, number),
                hatch=_pick(_HATCHES, number),
                linewidth=1.4,
            )
            axes.bar_label(bar, [size(result.size_bytes)], padding=4, color=_INK)
            axes.text(
                0, number - 0.26, _shortened(subject_label(result), _LONGEST_LABEL), ha="left", va="bottom", color=_INK
            )
        axes.set_yticks([])
        axes.set_ylim(len(results) - 0.7, -0.75)
        axes.set_xlim(0, max(megabytes) * 1.2)
        axes.set_xlabel("MB on disk")
        return _svg(figure, "size")


def training_figure(curve: Sequence[tuple[float, float]]) -> str:
    """Draw validation accuracy over steps."""
    with _axes("training", 2.2) as (figure, axes):
        steps, averages = zip(*curve, strict=True)
        axes.plot(steps, [100 * value for value in averages], "o-", color=_SERIES[0], markersize=3, linewidth=1.2)
        axes.set_xlabel("step; average accuracy on the validation texts")
        axes.set_ylabel("accuracy, %")
        axes.grid(alpha=0.25)
        return _svg(figure, "training")


@contextmanager
def _axes(name: str, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one plot, under settings that make the SVG depend on the data only."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the report", "report") from error
    settings: dict[RcKeyType, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"hrkd-{name}",
        "text.parse_math": False,  # a domain called `$x` is a name, not a formula
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    inked: tuple[RcKeyType, ...] = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings |= dict.fromkeys(inked, _INK)
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Names in any script are drawn by the reader's browser; matplotlib only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def _legend_above(figure: Figure) -> None:
    figure.legend(loc="outside upper left", frameon=False, ncols=1, borderaxespad=0.2, handlelength=2.6)


def _plain_log_ticks(axes: Axes) -> None:
    """Label 1, 2 and 5 of each decade with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as one SVG element with its own ids, transparent, in the page's colours."""
    buffer = io.StringIO()
    metadata: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    # The page sets the width; the viewBox keeps the proportions.
    text = re.sub(r'^<svg ([^>]*?)\bheight="[^"]*"', r"<svg \1", text)
    text = re.sub(r'^<svg ([^>]*?)\bwidth="[^"]*"', r'<svg aria-hidden="true" \1', text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _pick(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]
