"""Limits under which a child process runs: which CPUs, how much CPU time, how much memory.

The child is born with them: it enters its control groups before its program is loaded, so that every page counts. A
tiny shell script does that, because it costs a millisecond where a second Python would cost twenty, and because code
between fork and exec could deadlock.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hrkd.errors import BenchError
from hrkd_bench.limits.control_group import ControlGroup, Usage

_SHELL = "/bin/sh"
_SCRIPT = """
if [ -n "$1" ]; then ulimit -d "$1" || exit 125; fi
shift
while [ "$1" != -- ]; do
    echo "$$" > "$1/cgroup.procs" || exit 125
    shift
done
shift
exec "$@"
"""
"""Called with kilobytes of data or nothing, the groups to enter, ``--``, and the command."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use; None where it is not limited.

    Attributes:
        cpus: Numbers of the CPUs that it may run on.
        quota: CPU time per wall-clock time.
        memory_bytes: Memory before the kernel kills it, without swap; page cache counts.
        data_bytes: Private writable address space (RLIMIT_DATA), whether it is in memory or only reserved.
    """

    cpus: tuple[int, ...] | None = None
    quota: float | None = None
    memory_bytes: int | None = None
    data_bytes: int | None = None

    @property
    def needs_group(self) -> bool:
        """Whether a control group is needed."""
        return self.quota is not None or self.memory_bytes is not None


class Confinement:
    """The limits of one process that is about to be started. Use as a context manager around its life.

    Args:
        limits: What it may use.

    Raises:
        BenchError: The system does not let us set them.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        if limits.cpus is not None and not hasattr(os, "sched_setaffinity"):
            raise BenchError("this system cannot keep a process on chosen CPUs", hint="measure on Linux")
        self._group = ControlGroup(quota=limits.quota, memory_bytes=limits.memory_bytes) if limits.needs_group else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> int | None:
        """Version of the control group; None without one."""
        return None if self._group is None else self._group.version

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that enters the limits and then becomes ``command``."""
        if self._group is None and self.limits.data_bytes is None:
            return list(command)
        kilobytes = "" if self.limits.data_bytes is None else str(self.limits.data_bytes // 1024)
        groups = [] if self._group is None else [str(folder) for folder in self._group.folders]
        return [_SHELL, "-c", _SCRIPT, "sh", kilobytes, *groups, "--", *command]

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Run on the limits' CPUs while the process is started: it inherits them. Then run where we did before."""
        if self.limits.cpus is None:
            yield
            return
        own = os.sched_getaffinity(0)  # of this thread, which is the one that starts the process
        try:
            os.sched_setaffinity(0, self.limits.cpus)
        except OSError as error:
            raise BenchError(f"this process may not run on CPUs {list(self.limits.cpus)}: {error.strerror}") from error
        try:
            yield
        finally:
            os.sched_setaffinity(0, own)

    def usage(self) -> Usage:
        """Read what the process has used so far, as its group counts it."""
        return Usage(None, None, None) if self._group is None else self._group.usage()

    def close(self) -> None:
        """Take the group away; the process must have ended."""
        if self._group is not None:
            self._group.remove()


def check(limits: Limits) -> int | None:
    """Let a process that does nothing run under the limits, so that what cannot be had is refused before any work.

    Returns:
        Version of the control group; None where none is needed.

    Raises:
        BenchError: The system does not let us set them, or nothing can run under them.
    """
    with Confinement(limits) as confinement, confinement.starting():
        done = subprocess.run(  # noqa: S603 - a fixed command
            confinement.command([_SHELL, "-c", ":"]), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise BenchError(
                f"no process can be started under the limits: {said}",
                hint="allow more memory, or start hrkd where it may set limits: `systemd-run --user --scope hrkd ...`",
            )
        return confinement.version
