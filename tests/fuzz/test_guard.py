"""The guard itself: what it must notice, done on purpose."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import guard
from fuzz.guard import Arena, Hang, call, refused_or
from hrkd.errors import HrkdError

DEEDS: dict[str, Callable[[], object]] = {
    "written outside": lambda: Path("../neighbour/new.txt").write_text("x", encoding="utf-8"),
    "outside the folder was changed": lambda: _append_unseen(),
    "os.mkdir": lambda: Path("../made").mkdir(),
    "os.rename": lambda: Path("../canary.txt").rename("../renamed.txt"),
    "os.remove": lambda: Path("../neighbour/letter.txt").unlink(),
    "through/new.txt": lambda: _through_a_link(),
    "temporary file was left": lambda: tempfile.mkdtemp(),
}


def _append_unseen() -> None:
    """Change a file as a library in C would: no audit event names it."""
    os.system("echo more >> ../canary.txt")  # noqa: S605


def _through_a_link() -> None:
    Path("through").symlink_to("../neighbour", target_is_directory=True)
    Path("through/new.txt").write_text("x", encoding="utf-8")


@pytest.mark.parametrize("words", DEEDS)
def test_bad_deeds_are_noticed(words: str, tmp_path: Path) -> None:
    """Prevents ten thousand cases without a finding from meaning that nobody looked."""
    arena = Arena(tmp_path)
    with pytest.raises(AssertionError, match=words), arena.case():
        DEEDS[words]()


def test_good_deeds_are_let_be(tmp_path: Path) -> None:
    """Prevents the guard from crying at what every command does, until nobody believes it."""
    with Arena(tmp_path).case() as box:
        (box / "deep" / "er").mkdir(parents=True)
        Path("deep/er/new.txt").write_text("x", encoding="utf-8")
        Path("../canary.txt").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy("deep/er/new.txt", folder)


@pytest.mark.parametrize(("clock", "work"), [("PROCESSOR_SECONDS", "spin"), ("SECONDS", "wait")])
def test_hangs_are_noticed(clock: str, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a case that never ends from being seen only by whoever waits for the result."""
    monkeypatch.setattr(guard, clock, 0.05)

    def endless() -> None:
        while True:
            if work == "wait":
                signal.pause()

    with pytest.raises(Hang), Arena(tmp_path).case():
        endless()


def test_a_refusal_needs_words() -> None:
    """Prevents an error without a message from counting as a clear refusal."""

    def refuse() -> None:
        raise HrkdError("  ")

    with pytest.raises(AssertionError, match="without a message"):
        refused_or(refuse)


def test_foreign_exceptions_come_through() -> None:
    """Prevents the guard from hiding the traceback that it is there to find."""

    def main(_argv: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(main, [])
    with pytest.raises(ZeroDivisionError):
        refused_or(lambda: 1 / 0)
