"""How a measurement on a device ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from hrkd_bench.device import session

Trace = Callable[[FrameType, str, Any], Any]


class SignalAt:
    """Sends SIGTERM to this process at one event of the session's last lines, counted from the result's hand-over.

    Args:
        number: Which event.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self.began = False

    def hand_over(self, *_: object) -> None:
        """Stand for the real one."""
        self.began = True

    def trace(self, frame: FrameType, event: str, argument: object) -> Trace | None:
        """Count; Python calls this on every line and call."""
        if frame.f_code.co_filename != session.__file__:
            return None
        if self.began:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGTERM)
        return self.trace


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put signals and tracing back."""
    before = {number: signal.getsignal(number) for number in set(session._ENDINGS)}
    tracing = sys.gettrace()
    yield
    sys.settrace(tracing)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_goodbye_at_any_moment_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a device that fills up: the host hangs up as soon as it has the result, while the folder is removed."""
    monkeypatch.setattr(session, "measure_plan", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr(session, "to_json", lambda _: {})
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"run-{number}"
        (folder / "unpacked").mkdir(parents=True)
        lock = tmp_path / f"run-{number}.lock"
        lock.touch()
        ending = SignalAt(number)
        monkeypatch.setattr(session, "_hand_over", ending.hand_over)
        monkeypatch.setattr(sys, "argv", ["runner", str(folder), "--output", "unused", "--remove", str(folder)])
        sys.settrace(ending.trace)
        try:
            code = session.main()
        finally:
            sys.settrace(None)
        assert not folder.exists(), f"stopped at event {number}"
        assert not lock.exists(), f"stopped at event {number}"
        if ending.left > 0:  # the end came before the signal
            break
    assert code == 0
    assert number > 5
