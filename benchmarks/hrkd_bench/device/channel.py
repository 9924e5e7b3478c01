"""How a measurement on a device talks: lines for a person, or events for the machine that is connected to it.

Events are JSON after a mark, one to a line, because a login shell may print whatever it likes before them. A result
follows its event as bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

MARK = b"hrkd> "
HEARTBEAT_SECONDS = 10.0
"""How often the other side says that it is there."""
SILENCE_SECONDS = 120.0
"""How long it may be silent before the measurement is given up: a cable that is pulled sends no goodbye."""
_PROGRESS_SECONDS = 0.5
_LINE_SECONDS = 20.0  # between two lines to a person: they do not replace each other


class Channel:
    """Where progress, errors and the result go. Use as a context manager.

    Args:
        stream: Whether a machine listens; otherwise a person does, on stderr.
    """

    def __init__(self, stream: bool) -> None:
        self._events = os.fdopen(os.dup(1), "wb") if stream else None
        if stream:
            os.dup2(2, 1)  # what libraries print must not stand between events
        self._last = ("", 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            self._events.close()

    def progress(self, phase: str, done: int, total: int) -> None:
        """Say how far the measurement is, not too often in one phase."""
        before, said = self._last
        now = time.monotonic()
        pause = _LINE_SECONDS if self._events is None else _PROGRESS_SECONDS
        if phase == before and now - said < pause:
            return
        self._last = (phase, now)
        if self._events is not None:
            self._event({"event": "progress", "phase": phase, "done": done, "total": total})
        else:
            self.say(f"{phase}: {done} of {total}")

    def error(self, message: str, hint: str | None) -> None:
        """Say why there is no result."""
        if self._events is not None:
            self._event({"event": "error", "message": message, "hint": hint})
        else:
            self.say(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))

    def result(self, content: bytes) -> None:
        """Send the result."""
        self._event({"event": "result", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        if self._events is not None:
            self._events.write(content)
            self._events.flush()

    def say(self, line: str) -> None:
        """Tell a person."""
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _event(self, event: dict[str, Any]) -> None:
        if self._events is not None:
            self._events.write(b"\n" + MARK + json.dumps(event).encode() + b"\n")
            self._events.flush()


def watch_connection(silence: float = SILENCE_SECONDS) -> None:
    """End this process when the other side closes its end of stdin, or is silent for too long."""

    def watch() -> None:
        while select.select([0], [], [], silence)[0] and os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
