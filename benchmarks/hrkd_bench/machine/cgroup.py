"""What a control group grants this process: CPU quota, memory limit, and how often the quota stopped it.

Both cgroup versions, also side by side. A limit of any ancestor holds for the process, so the tightest one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
_NO_LIMIT = 2**60  # version 1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """The tightest limits above this process; None where there is none.

    Attributes:
        cpus: CPU time per wall-clock time, such as 1.5.
        memory_bytes: Memory before the kernel kills.
    """

    cpus: float | None
    memory_bytes: int | None


def read_limits(root: Path = ROOT, membership: Path = MEMBERSHIP) -> CgroupLimits:
    """Read the limits that hold for this process; unreadable files count as no limit."""
    return CgroupLimits(
        cpus=tightest(folders(root, membership, "cpu")).cpus,
        memory_bytes=tightest(folders(root, membership, "memory")).memory_bytes,
    )


def tightest(groups: Iterable[Path]) -> CgroupLimits:
    """Return the tightest limits that some groups have."""
    listed = list(groups)
    quotas = [_cpu_quota(folder) for folder in listed]
    memory = [_memory_limit(folder) for folder in listed]
    return CgroupLimits(
        cpus=min((quota for quota in quotas if quota is not None), default=None),
        memory_bytes=min((limit for limit in memory if limit is not None), default=None),
    )


def read_throttled_periods(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Return how many scheduling periods were cut short by a CPU quota so far, or None when nothing says so."""
    counts = [parse_throttled(_read(folder / "cpu.stat")) for folder in folders(root, membership, "cpu")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def parse_membership(text: str, controller: str) -> list[tuple[str, str]]:
    """Return (hierarchy, path) pairs of ``/proc/self/cgroup`` that can hold the controller; version 2 is ``""``."""
    found = []
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and (not controllers or controller in controllers.split(",")):
            found.append((controllers, path))
    return found


def parse_cpu_max(text: str) -> float | None:
    """Read version 2's ``cpu.max``: ``"150000 100000"`` is 1.5 CPUs, ``"max 100000"`` no limit."""
    parts = text.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts) or int(parts[1]) == 0:
        return None
    return int(parts[0]) / int(parts[1])


def parse_throttled(text: str) -> int | None:
    """Read ``nr_throttled`` from ``cpu.stat``."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled" and value.strip().isdigit():
            return int(value)
    return None


def _cpu_quota(folder: Path) -> float | None:
    quota = parse_cpu_max(_read(folder / "cpu.max"))
    if quota is not None:
        return quota
    # Version 1 writes -1 for "no limit", which parse_cpu_max refuses because it is not all digits.
    return parse_cpu_max(f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}")


def _memory_limit(folder: Path) -> int | None:
    text = (_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")).strip()
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None


def folders(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Yield the process's own folder and its ancestors, in each hierarchy; a container may see only the last.

    Args:
        root: Where the hierarchies are mounted.
        membership: Such as ``/proc/self/cgroup``.
        controller: Such as ``memory``.
    """
    for hierarchy, path in parse_membership(_read(membership), controller):
        relative = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath()
        for base in (root / hierarchy, root / controller) if hierarchy else (root / "unified", root):
            if base.is_dir():
                yield base / relative
                yield from (base / parent for parent in relative.parents)
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
