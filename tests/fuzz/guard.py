"""What no input may do: hang, write outside its folder, leave something behind, or end in a foreign exception."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.errors import HrkdError

PROCESSOR_SECONDS, SECONDS = 20, 240
"""After which a case counts as hanging: computing, or waiting. Far above what any takes, also on a busy machine."""
EXIT_CODES = {0, 2, 3, 130}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
"""Audit events that name what they change first; a hook sees them in every thread, whoever calls."""


outcomes: Counter[str] = Counter()
"""How often input was refused and accepted: fuzz that is always refused at the first check finds nothing behind it."""


class Hang(BaseException):
    """A case took too long; not an Exception, so that nothing takes it for damaged input."""


@dataclass
class _Watch:
    """What the audit hook looks at. A hook cannot be removed, so it asks this, and rests while nothing is allowed."""

    allowed: tuple[str, ...] = ()
    escapes: list[str] = field(default_factory=list)
    installed: bool = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.allowed:
            return
        if event == "open":
            path, _, flags = arguments
            changed = [path] if isinstance(flags, int) and flags & _WRITES else []
        else:
            changed = list(arguments[:2]) if event in _CHANGES else []
        for path in changed:
            if isinstance(path, (str, bytes, os.PathLike)) and not self._is_allowed(os.fsdecode(path)):
                self.escapes.append(f"{event} {os.fsdecode(path)!r}")

    def _is_allowed(self, path: str) -> bool:
        if "__pycache__" in path or path in (os.devnull, "/dev/tty") or "\0" in path:
            return True
        place = Path(path)  # its folder is resolved, not itself: what is replaced is a link, not where it points
        return f"{place.parent.resolve() / place.name}{os.sep}".startswith(self.allowed)


_watch = _Watch()


class Arena:
    """Folders in which cases run, one after the other.

    Args:
        root: An empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.outer, self.temporary = root / "outer", root / "temporary"
        for folder in (self.outer / "neighbour", self.temporary):
            folder.mkdir(parents=True)
        (self.outer / "neighbour" / "letter.txt").write_text("not yours\n", encoding="utf-8")
        (self.outer / "canary.txt").write_text("alive\n", encoding="utf-8")
        self.count = 0
        if not _watch.installed:
            sys.addaudithook(_watch)
            _watch.installed = True

    @contextmanager
    def case(self, prepare: Callable[[Path], object] = lambda _: None) -> Iterator[Path]:
        """Yield the folder of one case, which is the working folder meanwhile, and judge what was done.

        Args:
            prepare: Fills the folder before anything is watched.
        """
        self.count += 1
        box = self.outer / "box"
        box.mkdir()
        prepare(box)
        before, home = self._surroundings(box), Path.cwd()
        tempfile.tempdir = str(self.temporary)
        os.chdir(box)
        try:
            with _limited(), _watching(box, self.temporary) as escapes:
                yield box
            assert not escapes, f"written outside the folder: {escapes}"
            assert self._surroundings(box) == before, "something outside the folder was changed"
            assert not list(self.temporary.iterdir()), "a temporary file was left behind"
        finally:
            os.chdir(home)
            tempfile.tempdir = None
            for folder in (box, self.temporary):
                shutil.rmtree(folder, ignore_errors=True)
            self.temporary.mkdir()

    def _surroundings(self, box: Path) -> dict[str, str]:
        return {path: digest for path, digest in contents(self.outer).items() if not path.startswith(f"{box.name}/")}


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder, and the names of its folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name if path.is_file() else f"{name}/"] = (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
    return found


def refused_or(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns, or None where it refuses its input as it should: with a message."""
    try:
        result = work()
    except HrkdError as error:
        if not error.message.strip():
            raise AssertionError(f"{type(error).__name__} without a message") from error
        outcomes["refused"] += 1
        return None
    outcomes["accepted"] += 1
    return result


@dataclass(frozen=True)
class Called:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str


def call(main: Callable[[Sequence[str]], int], argv: Sequence[str], stdin: bytes = b"") -> Called:
    """Call the command line in this process with streams of its own; its exceptions are the caller's."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
        for errors in ("strict", "backslashreplace")  # as Python opens them
    )
    given = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(argv)
    finally:
        sys.stdin = given
    outcomes[f"exit code {code}"] += 1
    return Called(code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)))


@contextmanager
def _watching(*allowed: Path) -> Iterator[list[str]]:
    _watch.escapes = []
    _watch.allowed = tuple(f"{folder.resolve()}{os.sep}" for folder in allowed)
    try:
        yield _watch.escapes
    finally:
        _watch.allowed = ()


@contextmanager
def _limited() -> Iterator[None]:
    def ring(number: int, _frame: object) -> None:
        raise Hang(f"not done when {signal.Signals(number).name} came")

    clocks = (
        (signal.ITIMER_PROF, signal.SIGPROF, PROCESSOR_SECONDS),
        (signal.ITIMER_REAL, signal.SIGALRM, SECONDS),
    )
    previous = [(number, signal.signal(number, ring)) for _, number, _ in clocks]
    for clock, _, seconds in clocks:
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for clock, _, _ in clocks:
            signal.setitimer(clock, 0)
        for number, handler in previous:
            signal.signal(number, handler)
