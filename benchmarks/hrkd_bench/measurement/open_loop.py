"""Requests that come at their own times, whether or not the model is free: what a service sees.

A closed loop sends the next text when the last one is answered. A stall of a second then costs one slow answer,
although everybody who would have come in that second waits (coordinated omission). Here a request's latency counts from
when it was due. Needs no engine and no clock of its own: both are handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

_SPIN_SECONDS = 0.0005  # a sleep wakes up this much too late at times, which is no fault of the model


class Clock(Protocol):
    """Time as the loop needs it."""

    def now(self) -> float:
        """Return seconds since some beginning."""
        ...

    def wait_until(self, moment: float) -> None:
        """Return at ``moment``, or at once when it has passed."""
        ...


class WallClock:
    """Real time."""

    def now(self) -> float:
        """Return seconds of the performance counter."""
        return time.perf_counter()

    def wait_until(self, moment: float) -> None:
        """Sleep most of the time, then look at the clock until the moment is there."""
        remaining = moment - time.perf_counter() - _SPIN_SECONDS
        if remaining > 0:
            time.sleep(remaining)
        while time.perf_counter() < moment:
            pass


def serve(
    arrivals: Sequence[float], answer: Callable[[int], object], clock: Clock, *, give_up_after: float
) -> tuple[list[float], list[float]]:
    """Answer requests in order, none before it is due, one at a time.

    Args:
        arrivals: When each request is due, in seconds from the start, ascending.
        answer: Called with the request's number.
        clock: Real time, or a made-up one in tests.
        give_up_after: Seconds from the start after which no further request is begun.

    Returns:
        When the work on each request began and ended, in seconds from the start; shorter than ``arrivals`` where the
        loop gave up.
    """
    begin = clock.now()
    starts: list[float] = []
    ends: list[float] = []
    for number, due in enumerate(arrivals):
        clock.wait_until(begin + due)
        start = clock.now() - begin
        if start > give_up_after:
            break
        answer(number)
        starts.append(start)
        ends.append(clock.now() - begin)
    return starts, ends
