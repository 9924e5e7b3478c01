"""The parent's side of a worker: start it, ask it, and say clearly how it died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import hrkd
import hrkd_bench
from hrkd.bundle import EvalExample
from hrkd.errors import BenchError
from hrkd_bench.engines import require_engine
from hrkd_bench.limits.confinement import Confinement, Limits
from hrkd_bench.limits.control_group import Usage
from hrkd_bench.measurement.page_cache import drop_from_page_cache, files_to_run
from hrkd_bench.subjects import Subject

ANSWER_TIMEOUT_SECONDS = 600.0
_STDERR_LINES = 12
_STDERR_BYTES = 8192
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerProcess:
    """A running child process for one subject. Use as a context manager: leaving it ends the process.

    Args:
        subject: What the process will run.
        threads: Threads that its libraries may use.
        limits: What the process may use; everything when left out. Under a memory limit its files are read from the
            disk again, so that they are charged to it, unless another process is using them.

    Raises:
        BenchError: The system does not let us set the limits.
    """

    def __init__(self, subject: Subject, threads: int, limits: Limits | None = None) -> None:
        self.subject = subject
        if limits is not None and limits.memory_bytes is not None:
            drop_from_page_cache(files_to_run(subject))
        self._confinement = Confinement(limits or Limits())
        self._threads = threads
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`; a pipe could fill up and block
        self._started = time.perf_counter()
        try:
            self._process = self._start(worker_environment(threads))
        except BaseException:  # nobody would take the group away
            self._confinement.close()
            raise

    def _start(self, environment: dict[str, str]) -> subprocess.Popen[str]:
        with self._confinement.starting():
            return subprocess.Popen(  # noqa: S603 - a fixed command
                self._confinement.command([sys.executable, "-P", "-m", "hrkd_bench.measurement.worker"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C goes to the parent alone, which then ends its children
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, example: EvalExample, *, timeout: float = ANSWER_TIMEOUT_SECONDS) -> dict[str, Any]:
        """Load the model and answer one text; ``cold_start_s`` is the time since the process was started."""
        engine = require_engine(self.subject.engine)
        answer = self.ask(
            "load",
            timeout=timeout,
            classifier=engine.classifier,
            libraries=engine.libraries,
            path=str(self.subject.path.resolve()),
            threads=self._threads,
            text=example.text,
            text_pair=example.text_pair,
        )
        return answer | {"cold_start_s": time.perf_counter() - self._started}

    def ask(self, command: str, *, timeout: float = ANSWER_TIMEOUT_SECONDS, **values: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            BenchError: The worker reports an error, died, or did not answer in time.
        """
        expired = threading.Event()  # whether the timer's thread lives would say too little: it ends after the process

        def end() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(timeout, end)
        timer.daemon = True
        timer.start()
        try:
            line = self._exchange({"command": command, **values})
        finally:
            timer.cancel()
        if not line.endswith("\n"):  # nothing, or the beginning of an answer
            raise self._death(command, timeout if expired.is_set() else None)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            problem = answer["error"]
            raise BenchError(f"`{self.subject.path}`: {problem['message']}", hint=problem["hint"])
        return answer

    def close(self) -> None:
        """End the process, politely if it listens, and release its channels."""
        process = self._process
        if process.poll() is None:
            self._exchange({"command": "quit"}, wait=False)
        for stream in (process.stdin, process.stdout):
            if stream is not None and not stream.closed:
                _close_quietly(stream)
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._stderr.close()
        self._confinement.close()

    def usage(self) -> Usage:
        """Return what the process has used so far, as its control group counts it; ask before closing."""
        return self._confinement.usage()

    def _exchange(self, request: Mapping[str, Any], *, wait: bool = True) -> str:
        """Return the answer's line; empty or without its end when the process is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return ""
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except BrokenPipeError:
            return ""
        return stdout.readline() if wait else ""

    def _death(self, command: str, timeout: float | None) -> BenchError:
        code = self._process.wait()
        if timeout is not None:
            how = f"gave no answer to `{command}` within {timeout:.0f} s"
        elif code < 0:
            how = f"was ended by signal {signal.Signals(-code).name} during `{command}`"
        else:
            how = f"ended with exit code {code} during `{command}`"
        hint = "SIGKILL usually means that memory ran out" if code == -signal.SIGKILL and timeout is None else None
        tail = self._stderr_tail()
        said = f"; its last words:\n{tail}" if tail else " without a word"
        return BenchError(f"the process measuring `{self.subject.path}` {how}{said}", hint=hint)

    def _stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_BYTES))
        lines = self._stderr.read().decode("utf-8", errors="replace").strip().splitlines()
        return "\n".join(f"  {line}" for line in lines[-_STDERR_LINES:])


def worker_environment(threads: int) -> dict[str, str]:
    """Give the child our environment, with the threads fixed and nothing that calls home."""
    variables = dict(os.environ)
    variables.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    variables |= {"ORT_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    roots = [str(Path(file).resolve().parents[1]) for file in (hrkd.__file__, hrkd_bench.__file__) if file]
    # An installed package is found anyway, and site-packages must not come before the standard library.
    own = [root for root in dict.fromkeys(roots) if not root.endswith(("site-packages", "dist-packages"))]
    inherited = variables.get("PYTHONPATH")
    variables["PYTHONPATH"] = os.pathsep.join([*own, *([inherited] if inherited else [])])
    if not variables["PYTHONPATH"]:
        del variables["PYTHONPATH"]
    return variables


def _close_quietly(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return
