"""A headless Chromium of our own: found by name, with a new profile, and gone without a trace afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from hrkd.errors import BenchError
from hrkd_bench.web.devtools import DevTools

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "brave-browser",
)
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    # No name is ever looked up: the page is on 127.0.0.1, and the browser shall not reach anything else either.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_PIPES = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
"""The protocol's pipes are the descriptors 3 and 4, which the subprocess module cannot hand over by number."""
_SECONDS_TO_END = 3
_STDERR_LINES = 6


def find_browser(given: Path | None = None) -> Path:
    """Return the browser to start.

    Args:
        given: Its file; left out, the first of :data:`NAMES` on the path.

    Raises:
        BenchError: There is none.
    """
    if given is not None:
        if not (given.is_file() and os.access(given, os.X_OK)):
            raise BenchError(f"`{given}` is not a program", hint="name the file of a Chromium or Chrome")
        return given
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BenchError(
            "no browser was found", hint=f"install one of {', '.join(NAMES[:3])}, or name it with --browser FILE"
        )
    return Path(found)


@dataclass(frozen=True, slots=True)
class Browser:
    """A running browser.

    Attributes:
        tools: The connection to it.
        pid: Its first process, which leads the group of all of them.
    """

    tools: DevTools
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of all of its processes, ended ones included."""
        total = 0.0
        for process in self._processes():
            try:
                times = process.cpu_times()
            except psutil.Error:  # it ended just now
                continue
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []


@contextmanager
def open_browser(browser: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; at the end of the block it and all of its processes are ended.

    Args:
        browser: Its file, see :func:`find_browser`.

    Raises:
        BenchError: It does not start, or dies; with its last words.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hrkd-browser-", ignore_cleanup_errors=True) as profile,
        tempfile.TemporaryFile() as stderr,
    ):
        process = _start(browser, Path(profile), stderr)
        try:
            if process.stdin is None or process.stdout is None:
                raise BenchError(f"`{browser}` was started without pipes")
            with DevTools(process.stdin, process.stdout, lambda: _last_words(stderr)) as tools:
                yield Browser(tools, process.pid)
        finally:
            _end(process)


def _start(browser: Path, profile: Path, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    # The sandbox cannot be set up by root; everybody else keeps it.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return subprocess.Popen(  # noqa: S603 - the shell's words are ours, the browser's name is an argument
        ["/bin/sh", "-c", _PIPES, "sh", str(browser), *_FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"HOME": str(profile)},  # some builds write beside the profile as well
        start_new_session=True,  # one group, so that every process of the browser can be ended at once
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser's process group, politely first."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, ending)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None and not stream.closed:
            stream.close()


def _last_words(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-_STDERR_LINES:])
