"""Which of several things with several costs are worth keeping: those that no other one beats in every respect."""

from __future__ import annotations

from collections.abc import Sequence

SAME_SPEED = 0.03
"""Medians closer than this are one speed: repeated runs of one bundle differ by about as much (docs/log.md)."""
SAME_SIZE = 0.02
"""Sizes closer than this are no reason to prefer one."""

Costs = tuple[float, float, float]
"""What should be small: latency, bytes, and errors in the worst domain."""
TOLERANCES: Costs = (SAME_SPEED, SAME_SIZE, 0.0)


def dominates(other: Costs, own: Costs) -> bool:
    """Return whether ``other`` is nowhere worse and somewhere better; differences that are noise count as none."""
    rows = list(zip(other, own, TOLERANCES, strict=True))
    nowhere_worse = all(theirs <= (1.0 + same) * mine for theirs, mine, same in rows)
    return nowhere_worse and any((1.0 + same) * theirs < mine for theirs, mine, same in rows)


def on_front(costs: Sequence[Costs]) -> list[bool]:
    """Return for each whether no other one dominates it."""
    return [not any(dominates(other, own) for other in costs) for own in costs]
