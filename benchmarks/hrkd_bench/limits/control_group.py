"""A control group of our own below the one that we are in, with limits for a child process: both cgroup versions.

Nothing is mounted, no controller is switched on and no process that is not ours is moved: where the system lends no
group, that is said before any work. The limits of the groups above stay in force; where the new group cannot be below
ours, it gets those of ours as well.
"""

from __future__ import annotations

import os
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hrkd.errors import BenchError
from hrkd_bench.machine.cgroup import MEMBERSHIP, ROOT, folders, parse_throttled, tightest

PERIOD_US = 100_000
"""Scheduling period of a CPU quota: the kernel's default, and that of containers."""
_PREFIX = "hrkd"
_SWAPS = Path("/proc/swaps")
_REMOVAL_SECONDS = 2.0  # the kernel keeps a group busy for a moment after its last process has gone
HINT = (
    "give hrkd a group that it may divide: `systemd-run --user --scope hrkd bench ...`, or run it as root; or let "
    "systemd set the limits for all of hrkd, without --profile: `systemd-run --scope -p {properties} hrkd bench ...`"
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group counted; None where the kernel keeps no such counter.

    Attributes:
        peak_bytes: Most memory that was charged to it, page cache included.
        throttled_periods: Scheduling periods that the quota cut short.
        kills: Processes that the memory limit ended.
    """

    peak_bytes: int | None
    throttled_periods: int | None
    kills: int | None


class ControlGroup:
    """Folders below our own groups that hold limits; :meth:`remove` takes them away again.

    Args:
        quota: CPU time per wall-clock time; None for no limit.
        memory_bytes: Memory before the kernel kills, without swap; None for no limit.
        root: Where the hierarchies are mounted.
        membership: Which groups we are in.

    Attributes:
        folders: The new folders; version 1 has one for each controller.
        version: Of the hierarchies, 1 or 2; 1 where both were needed.

    Raises:
        BenchError: The system lets us make no such group.
    """

    def __init__(
        self, *, quota: float | None, memory_bytes: int | None, root: Path = ROOT, membership: Path = MEMBERSHIP
    ) -> None:
        self.folders: list[Path] = []
        self.version = 2
        self._name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self._root, self._membership = root, membership
        self._escaped: list[Path] = []  # groups of ours that the new ones are not below
        try:
            self._limit(quota, memory_bytes)
        except OSError as error:
            self.remove()
            raise _refusal(quota, memory_bytes, str(error)) from error
        except BenchError as error:
            self.remove()
            raise _refusal(quota, memory_bytes, error.message) from error

    def usage(self) -> Usage:
        """Read what the group has counted so far."""
        peaks: list[int | None] = []
        throttled: list[int | None] = []
        kills: list[int | None] = []
        for folder in self.folders:
            peaks += [_number(folder / name) for name in ("memory.peak", "memory.max_usage_in_bytes")]
            throttled.append(parse_throttled(_read(folder / "cpu.stat")))
            kills += [_count(folder / name, "oom_kill") for name in ("memory.events", "memory.oom_control")]
        return Usage(_first(peaks), _first(throttled), _first(kills))

    def remove(self) -> None:
        """Remove the folders; their processes must have ended."""
        for folder in self.folders:
            _remove(folder)
        self.folders = []

    def _limit(self, quota: float | None, memory_bytes: int | None) -> None:
        """Make the groups and write their limits, or ours where those are tighter and would not hold there."""
        if quota is not None:
            self._folder("cpu")
        if memory_bytes is not None:
            self._folder("memory")
        own = tightest(self._escaped)
        quotas = [value for value in (quota, own.cpus) if value is not None]
        sizes = [value for value in (memory_bytes, own.memory_bytes) if value is not None]
        if quotas:
            self._limit_cpu(min(quotas))
        if sizes:
            self._limit_memory(min(sizes))
        if sum((folder / "cgroup.subtree_control").exists() for folder in self.folders) > 1:
            raise BenchError("no one group has both controllers, and a process can be in one only")

    def _limit_cpu(self, quota: float) -> None:
        folder = self._folder("cpu")
        microseconds = max(1000, round(quota * PERIOD_US))  # the kernel refuses less than a millisecond
        if (folder / "cpu.max").exists():
            _write(folder / "cpu.max", f"{microseconds} {PERIOD_US}")
        else:
            _write(folder / "cpu.cfs_period_us", str(PERIOD_US))
            _write(folder / "cpu.cfs_quota_us", str(microseconds))

    def _limit_memory(self, size: int) -> None:
        folder = self._folder("memory")
        if (folder / "memory.max").exists():
            _write(folder / "memory.max", str(size))
            swap, without_swap = folder / "memory.swap.max", "0"
        else:
            _write(folder / "memory.limit_in_bytes", str(size))
            # Version 1 limits the sum of memory and swap.
            swap, without_swap = folder / "memory.memsw.limit_in_bytes", str(size)
        if swap.exists():
            _write(swap, without_swap)
        elif _has_swap():
            raise BenchError("the kernel cannot keep the group from swapping, and this machine has swap")

    def _folder(self, controller: str) -> Path:
        """Return a new folder in which ``controller`` can be set; the one made for another controller where it can."""
        for folder in self.folders:
            if _offers(folder, controller):
                return folder
        passed: list[Path] = []
        for parent, version in _parents(self._root, self._membership, controller, passed):
            _remove_orphans(parent)
            folder = parent / self._name
            folder.mkdir()
            self.folders.append(folder)
            self.version = min(self.version, version)
            if _offers(folder, controller):
                self._escaped += [group for group in passed if parent in group.parents]
                return folder
            self.folders.remove(folder)
            _remove(folder)
        raise BenchError(f"no control group here has the controller `{controller}` for us")


def _parents(root: Path, membership: Path, controller: str, passed: list[Path]) -> Iterator[tuple[Path, int]]:
    """Yield the groups below which a new one may have the controller, with their version; our own first.

    Version 2 hands a controller only to the children of a group that says so, and a group with processes cannot say so:
    there the new group is a sibling of ours, or of a group above it. Every group that was looked at is put into
    ``passed``.
    """
    for folder in folders(root, membership, controller):
        passed.append(folder)
        if not folder.is_dir():
            continue
        control = folder / "cgroup.subtree_control"
        if not control.exists():
            yield folder, 1
        elif controller in _read(control).split() and os.access(folder, os.W_OK):
            yield folder, 2


def _offers(folder: Path, controller: str) -> bool:
    names = {"cpu": ("cpu.max", "cpu.cfs_quota_us"), "memory": ("memory.max", "memory.limit_in_bytes")}
    return any((folder / name).exists() for name in names[controller])


def _refusal(quota: float | None, memory_bytes: int | None, reason: str) -> BenchError:
    properties = [] if quota is None else [f"CPUQuota={100 * quota:.0f}%"]
    properties += [] if memory_bytes is None else [f"MemoryMax={memory_bytes}", "MemorySwapMax=0"]
    return BenchError(
        f"this system lends no control group for the limits: {reason}",
        hint=HINT.format(properties=" -p ".join(properties)),
    )


def _remove_orphans(parent: Path) -> None:
    """Remove groups of ours whose maker was killed before it could; the kernel keeps those that are in use."""
    for folder in parent.glob(f"{_PREFIX}-*-*"):
        maker = folder.name.split("-")[1]
        if maker.isdigit() and not Path("/proc", maker).exists():
            with suppress(OSError):
                folder.rmdir()


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                warnings.warn(f"control group `{folder}` cannot be removed: {error.strerror}", stacklevel=3)
                return
            time.sleep(0.01)
        else:
            return


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="ascii") as stream:
        stream.write(text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _first(values: list[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _count(path: Path, wanted: str) -> int | None:
    for line in _read(path).splitlines():
        name, _, value = line.partition(" ")
        if name == wanted and value.strip().isdigit():
            return int(value)
    return None


def _has_swap() -> bool:
    return len(_read(_SWAPS).splitlines()) > 1
