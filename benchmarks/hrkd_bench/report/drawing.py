"""How the report's figures are drawn: SVG text that takes its colours from the page, so that light and dark both work.

Every series has a marker, line or hatch of its own beside its colour. Text stays text: it can be searched, and it is
read in the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hrkd.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

INK = "#010203"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
LONGEST_TICK, LONGEST_LABEL = 20, 48  # characters that leave room for the plot; the tables have the whole names
_WIDTH = 4.3  # inches; about the width of a phone, so that nothing is scaled down there
# matplotlib wants real colours; these stand for the page's variables and are replaced in the finished SVG.
_VARIABLES = {INK: "var(--ink)"} | {colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, start=1)}


@contextmanager
def new_figure(name: str, height: float) -> Iterator[Figure]:
    """Yield an empty figure of ``height`` inches, under settings that make the SVG depend on the data only.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
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
    settings |= dict.fromkeys(inked, INK)
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Names in any script are drawn by the reader's browser; matplotlib only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


@contextmanager
def new_axes(name: str, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one plot; see :func:`new_figure`."""
    with new_figure(name, height) as figure:
        yield figure, figure.add_subplot()


def legend_above(figure: Figure, **options: Any) -> None:
    """Put the legend over the plots, one entry a line unless ``options`` say otherwise."""
    settings = {"frameon": False, "ncols": 1, "borderaxespad": 0.2, "handlelength": 2.6} | options
    figure.legend(loc="outside upper left", **settings)


def to_svg(figure: Figure, name: str) -> str:
    """Return the figure as one SVG element with its own ids, transparent, in the page's colours."""
    buffer = io.StringIO()
    metadata: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    # A hundredth of a point cannot be seen; matplotlib writes millionths.
    text = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    # The page sets the width; the viewBox keeps the proportions.
    text = re.sub(r'^<svg ([^>]*?)\bheight="[^"]*"', r"<svg \1", text)
    text = re.sub(r'^<svg ([^>]*?)\bwidth="[^"]*"', r'<svg aria-hidden="true" \1', text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def shortened(name: str, longest: int) -> str:
    """Cut a name that would leave no room for the plot."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def pick(choices: Sequence[Any], number: int) -> Any:
    """Return the choice of the ``number``-th series; they start over when they run out."""
    return choices[number % len(choices)]


def plain_log_ticks(axes: Axes) -> None:
    """Label 1, 2 and 5 of each decade with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
