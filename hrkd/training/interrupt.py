"""Stopping between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by the first SIGINT or SIGTERM; a second one acts as usual."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM inside the block into a request that the loop can look at.

    Outside the main thread, where Python allows no handlers, the request is simply never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.received = signal.Signals(number)
        _restore()

    def _restore() -> None:
        for name, handler in previous.items():
            signal.signal(name, handler)

    for name in previous:
        signal.signal(name, handle)
    try:
        yield request
    finally:
        _restore()
