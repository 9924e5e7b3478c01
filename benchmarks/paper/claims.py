"""Who makes which run: several processes go through the same list, and nobody makes what another one is making.

A claim is a lock that the operating system holds for a living process, so the claim of a killed one is free at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

Item = TypeVar("Item")
SECONDS_BETWEEN_LOOKS = 5.0


class Outcome(Enum):
    """What became of an attempt to make a run."""

    DONE = auto()
    """It is finished, or was before."""
    TAKEN = auto()
    """Another process makes it."""
    BLOCKED = auto()
    """Another process makes the teacher that it needs."""
    FAILED = auto()
    """It ended with an error that the caller has noted."""


class Claims:
    """The claims of one work folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def hold(self, *names: str, patience: float = 0.0) -> Iterator[bool]:
        """Hold a claim while the block runs; yields whether this process got it within ``patience`` seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{'--'.join(names)}.lock")
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


class Schedule(Generic[Item]):
    """Goes through a list until each item is made, here or by another process.

    Args:
        items: In the order of their importance.
        attempt: Tries to make one; must not wait.
        sleep: Waits for other processes; replaced in tests.
    """

    def __init__(
        self, items: Sequence[Item], attempt: Callable[[Item], Outcome], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.pending = list(items)
        self.failed: list[Item] = []
        self._attempt = attempt
        self._sleep = sleep

    def work(self) -> list[Item]:
        """Return what is left to other processes, when nothing is left to do here."""
        while True:
            outcomes = self._first_success()
            if Outcome.DONE in outcomes or Outcome.FAILED in outcomes:
                continue  # from the top: a teacher may stand by now, and the order is that of importance
            if Outcome.BLOCKED not in outcomes:
                return self.pending
            self._sleep(SECONDS_BETWEEN_LOOKS)

    def _first_success(self) -> list[Outcome]:
        """Try the items in order until one is settled; return what came out of all attempts."""
        outcomes = []
        for item in list(self.pending):
            outcomes.append(self._attempt(item))
            if outcomes[-1] in (Outcome.DONE, Outcome.FAILED):
                self.pending.remove(item)
                if outcomes[-1] is Outcome.FAILED:
                    self.failed.append(item)
                break
        return outcomes
