"""How many threads a model may use here: from affinity and quota, never from the machine's core count."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hrkd_bench.machine.cgroup import MEMBERSHIP, ROOT, read_limits

TOPOLOGY = Path("/sys/devices/system/cpu")


def affinity() -> list[int]:
    """Return the numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def distinct_cores(cpus: Sequence[int], topology: Path = TOPOLOGY) -> list[int]:
    """Order CPUs so that one of each core comes first: two hardware threads of a core are not two cores.

    Args:
        cpus: Numbers of CPUs.
        topology: Folder with one folder per CPU.
    """
    seen: set[str] = set()
    first: list[int] = []
    rest: list[int] = []
    for number in cpus:
        folder = topology / f"cpu{number}" / "topology"
        core = " ".join(_read(folder / name) or f"cpu{number}" for name in ("physical_package_id", "core_id"))
        (rest if core in seen else first).append(number)
        seen.add(core)
    return first + rest


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def available_cpus(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """Return the number of threads that can run all the time, at least 1.

    A quota of 1.5 CPUs gives one thread: two would use it up and then stand still until the next period.
    """
    quota = read_limits(root, membership).cpus
    granted = len(affinity())
    return granted if quota is None else max(1, min(granted, int(quota)))
