"""How many threads a model may use here: from affinity and quota, never from the machine's core count."""

from __future__ import annotations

import os
from pathlib import Path

from hrkd_bench.cgroup import MEMBERSHIP, ROOT, read_limits


def affinity() -> list[int]:
    """Return the numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_cpus(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """Return the number of threads that can run all the time, at least 1.

    A quota of 1.5 CPUs gives one thread: two would use it up and then stand still until the next period.
    """
    quota = read_limits(root, membership).cpus
    granted = len(affinity())
    return granted if quota is None else max(1, min(granted, int(quota)))
