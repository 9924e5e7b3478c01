"""Which shapes `hrkd plan` looks at: a grid derived from the teacher, or written by the user; and which it measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from hrkd.data.suggest import suggestion
from hrkd.errors import BudgetError
from hrkd.plan_shape import PRECISIONS, Shape

_DEPTHS = (1 / 3, 1 / 2, 2 / 3, 1.0)
_WIDTHS = (1 / 3, 2 / 3, 1.0)
_VOCABULARY = 0.4
_SMALL_VOCABULARY = 5000  # so few pieces are a small part of any student, and most are needed
_FULL = "full"
_SMALL_TABLES = {"int8": "int8-int4-tables"}
_EXAMPLE = "for example --grid layers=2,3,4 --grid width=256,384 --grid vocab=full,8000 --grid precision=int8,fp32"
AXES = ("layers", "width", "vocab", "precision")
"""What the user can write."""
MOST_SHAPES = 1000

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Grid:
    """Values of each axis; every combination is a shape.

    Attributes:
        layers: Encoder layers.
        widths: Hidden size, attention heads and feed-forward width.
        vocabularies: Most pieces; None: as the recipe says.
        precisions: Recipe's names of what is done to the weights.
    """

    layers: tuple[int, ...]
    widths: tuple[tuple[int, int, int], ...]
    vocabularies: tuple[int | None, ...]
    precisions: tuple[str, ...]

    def shapes(self) -> list[Shape]:
        """Return every combination once."""
        return [
            Shape(layers, *width, vocabulary, precision)
            for layers in self.layers
            for width in self.widths
            for vocabulary in self.vocabularies
            for precision in self.precisions
        ]


def default_grid(teacher: Shape, pieces: int, *, can_cut: bool) -> Grid:
    """Return a grid below the teacher: some depths and widths, heads and ratios of the teacher's size.

    Args:
        teacher: Its shape, in the precision that the recipe asks for.
        pieces: Of its tokenizer.
        can_cut: Whether its tokenizer can lose pieces, and the recipe does not say how many.
    """
    layers = sorted({max(1, round(teacher.layers * depth)) for depth in _DEPTHS})
    head = teacher.hidden_size // teacher.attention_heads
    sizes = sorted({max(head, round(teacher.hidden_size * width / head) * head) for width in _WIDTHS})
    cut = (1000 * round(pieces * _VOCABULARY / 1000),) if can_cut and pieces > _SMALL_VOCABULARY else ()
    precisions = dict.fromkeys([teacher.precision, _SMALL_TABLES.get(teacher.precision, teacher.precision)])
    return Grid(tuple(layers), tuple(_width(size, teacher) for size in sizes), (None, *cut), tuple(precisions))


def parse_grid(entries: Sequence[str], default: Grid, teacher: Shape) -> Grid:
    """Read axes that the user wrote; the others stay as they are.

    Args:
        entries: ``AXIS=VALUE,VALUE``: ``layers``, ``width`` (``384`` or ``312:12:1200`` for hidden size, heads and
            feed-forward width), ``vocab`` (pieces or ``full``) and ``precision``.
        default: Values of the axes that are not written.
        teacher: Decides heads and feed-forward width where only a hidden size is written.

    Raises:
        BudgetError: An axis or value is unknown or stands twice, or there are too many combinations.
    """
    written: dict[str, list[str]] = {}
    for entry in entries:
        axis, separator, values = (part.strip() for part in entry.partition("="))
        if axis not in AXES or not separator or not values:
            problem = (
                f"has no axis `{axis[:40]}`, {suggestion(axis, AXES)}"
                if axis not in AXES
                else f"has no values for `{axis}`"
            )
            raise BudgetError(f"the grid {problem}", hint=_EXAMPLE)
        if axis in written:
            raise BudgetError(f"the grid's axis `{axis}` stands twice", hint="separate its values by commas")
        written[axis] = [text.strip() for text in values.split(",")]
    grid = Grid(
        _read(written.get("layers"), _whole, default.layers),
        _read(written.get("width"), partial(_read_width, teacher=teacher), default.widths),
        _read(written.get("vocab"), _pieces, default.vocabularies),
        _read(written.get("precision"), _way, default.precisions),
    )
    count = len(grid.layers) * len(grid.widths) * len(grid.vocabularies) * len(grid.precisions)
    if count > MOST_SHAPES:
        raise BudgetError(f"the grid has {count} shapes, at most {MOST_SHAPES} make sense", hint=_EXAMPLE)
    return grid


def choose_measured(shapes: Sequence[Shape], count: int, tokens: float) -> list[Shape]:
    """Return shapes that span a grid: of each kind of arithmetic at most ``count`` encoders, far from one another.

    The first two are the cheapest and the costliest; then always the encoder that is farthest from the chosen ones.
    Of an encoder's variants the first one stands for all.

    Args:
        shapes: The grid.
        count: Most encoders to measure of each arithmetic.
        tokens: Length of a typical text.
    """
    chosen: list[Shape] = []
    for arithmetic in dict.fromkeys(shape.arithmetic for shape in shapes):
        first = {shape.encoder: shape for shape in reversed(shapes) if shape.arithmetic == arithmetic}
        encoders = sorted(first.values(), key=lambda shape: shape.operations(tokens))
        places = np.array([[math.log(shape.layers), math.log(shape.operations(tokens))] for shape in encoders])
        chosen += [encoders[index] for index in _spread(places, min(count, len(encoders)))]
    return chosen


def _spread(places: np.ndarray, count: int) -> list[int]:
    """Return ``count`` rows of ``places`` (n, 2): the first, the last, then always the farthest from those."""
    extent = places.max(axis=0) - places.min(axis=0)
    scaled = (places - places.min(axis=0)) / np.where(extent > 0, extent, 1.0)
    taken = list(dict.fromkeys([0, len(places) - 1]))[:count]
    while len(taken) < count:
        distances = np.linalg.norm(scaled[:, None] - scaled[taken], axis=2).min(axis=1)
        distances[taken] = -1.0
        taken.append(int(distances.argmax()))
    return sorted(taken)


def _read(texts: Sequence[str] | None, reader: Callable[[str], Value], default: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return an axis's values, each once."""
    return default if texts is None else tuple(dict.fromkeys(reader(text) for text in texts))


def _width(hidden: int, teacher: Shape) -> tuple[int, int, int]:
    """Return a width with heads of the teacher's size, or else as many as the teacher has, and its ratio."""
    head = teacher.hidden_size // teacher.attention_heads
    heads = hidden // head if hidden % head == 0 else teacher.attention_heads
    if hidden % heads:
        raise BudgetError(
            f"width {hidden} is no multiple of {heads} heads", hint="write heads too: width=HIDDEN:HEADS:FEED-FORWARD"
        )
    return hidden, heads, round(hidden * teacher.intermediate_size / teacher.hidden_size)


def _read_width(text: str, *, teacher: Shape) -> tuple[int, int, int]:
    parts = [_whole(part) for part in text.split(":")]
    if len(parts) == 1:
        return _width(parts[0], teacher)
    if len(parts) != 3 or parts[0] % parts[1]:
        raise BudgetError(f"`width={text[:40]}` is not HIDDEN:HEADS:FEED-FORWARD with whole heads", hint=_EXAMPLE)
    return parts[0], parts[1], parts[2]


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 7 or int(text) == 0:
        raise BudgetError(f"the grid's value `{text[:40]}` is not a whole number above 0", hint=_EXAMPLE)
    return int(text)


def _pieces(text: str) -> int | None:
    return None if text == _FULL else _whole(text)


def _way(text: str) -> str:
    if text not in PRECISIONS:
        raise BudgetError(f"the grid's precision `{text[:40]}` is unknown, {suggestion(text, PRECISIONS)}")
    return text
