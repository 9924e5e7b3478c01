"""What took the processor away while we measured: other virtual machines (steal time) and our own CPU quota.

Either makes latencies a statement about the neighbours instead of the model, so such a run is marked invalid. The load
average is only noted: it counts our own work as well.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hrkd_bench.cgroup import read_throttled_periods
from hrkd_bench.cpus import affinity

STAT = Path("/proc/stat")
_MOST_STEAL = 0.01
_FEWEST_TICKS = 3  # the kernel counts in ticks of 10 ms; one tick of a short run says nothing
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: all but idle and waiting for a disk
_STEAL_FIELD = 7


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Ticks since the machine started, summed over the CPUs that this process may use."""

    busy: int
    steal: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the counters; None where the system keeps none."""

    ticks: CpuTicks | None
    throttled_periods: int | None
    load_average: float | None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The difference of two snapshots.

    Attributes:
        steal_fraction: Share of the busy time that went to other virtual machines; None when unknown.
        throttled_periods: Scheduling periods that our CPU quota cut short; None when unknown.
        invalid_reasons: Why the numbers must not be relied on; empty for a valid run.
        notes: What a reader should know although the run counts.
    """

    steal_fraction: float | None
    throttled_periods: int | None
    invalid_reasons: tuple[str, ...]
    notes: tuple[str, ...]


def take_snapshot() -> Snapshot:
    """Read the counters now."""
    try:
        ticks = parse_stat(STAT.read_text(encoding="ascii", errors="replace"), affinity())
    except OSError:
        ticks = None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Snapshot(ticks, read_throttled_periods(), load)


def parse_stat(text: str, cpus: Collection[int]) -> CpuTicks | None:
    """Sum the per-CPU lines of ``/proc/stat`` over ``cpus``; None when there are none."""
    names = {f"cpu{number}" for number in cpus}
    rows = [line.split() for line in text.splitlines()]
    counts = [[int(value) for value in row[1:]] for row in rows if row and row[0] in names]
    counts = [row for row in counts if len(row) > _STEAL_FIELD]
    if not counts:
        return None
    busy = sum(row[field] for row in counts for field in _BUSY_FIELDS)
    return CpuTicks(busy, sum(row[_STEAL_FIELD] for row in counts))


def compare(before: Snapshot, after: Snapshot, cpus: int) -> Disturbance:
    """Judge what happened between two snapshots on a machine that grants us ``cpus`` CPUs."""
    reasons = []
    steal_fraction, steal_ticks = _steal(before.ticks, after.ticks)
    if steal_fraction is not None and steal_fraction > _MOST_STEAL and steal_ticks >= _FEWEST_TICKS:
        reasons.append(f"other virtual machines took {100 * steal_fraction:.1f} % of the processor time (steal)")
    throttled = None
    if before.throttled_periods is not None and after.throttled_periods is not None:
        throttled = after.throttled_periods - before.throttled_periods
        if throttled > 0:
            reasons.append(f"the CPU quota stopped the measurement in {throttled} scheduling periods")
    notes = []
    if before.load_average is not None and before.load_average > 0.5 * cpus:
        notes.append(f"load average {before.load_average:.1f} at the start: other programs may have been running")
    return Disturbance(steal_fraction, throttled, tuple(reasons), tuple(notes))


def _steal(before: CpuTicks | None, after: CpuTicks | None) -> tuple[float | None, int]:
    if before is None or after is None:
        return None, 0
    busy, steal = after.busy - before.busy, after.steal - before.steal
    return (steal / busy if busy > 0 else 0.0), steal
