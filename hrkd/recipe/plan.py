"""Recipe section `plan`: what `hrkd plan` expected of the student, written by it and compared with the truth later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from hrkd.recipe.base import Name, PositiveFloat, PositiveInt, Section


class PlannedNumber(Section):
    """One expected number: milliseconds or bytes, as its name says."""

    predicted: PositiveFloat
    """From shapes other than this one."""
    low: Annotated[float, Field(ge=0.0)]
    high: PositiveFloat
    """Bounds of the prediction: the spread when each measured shape is left out once."""
    untrained: PositiveFloat | None = None
    """As measured on a student of this shape with random weights; none where it was not measured."""


class PlanConfig(Section):
    """What was planned. Decides nothing: `hrkd run` only compares the result with it."""

    budget: Name
    shape: Name
    processor: Name
    """On which it was measured; on another one the numbers say nothing."""
    threads: PositiveInt
    numbers: Mapping[str, PlannedNumber]
    """By name: ``p50``, ``p95``, ... in milliseconds, ``size`` and ``rss`` in bytes."""
