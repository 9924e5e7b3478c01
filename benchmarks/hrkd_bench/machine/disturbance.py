"""What took the processor away or slowed it down while we measured.

Other virtual machines (steal time), our own CPU quota, other programs, and a processor that was throttled: each makes
latencies a statement about something else than the model, so such a run is marked invalid. The rest is noted. Every
message says what to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hrkd_bench.machine import sensors
from hrkd_bench.machine.cgroup import read_throttled_periods
from hrkd_bench.machine.cpus import affinity

STAT = Path("/proc/stat")
MOST_STEAL = 0.01
MOST_FOREIGN = 0.10
"""Share of the CPUs' time that other programs may take before a run is invalid."""
NOTED_FOREIGN = 0.03
_SLOWER_CLOCK = 0.9
_HOT_C = 80.0  # where a Raspberry Pi begins to slow down; others throttle between 90 and 105
_FEWEST_TICKS = 3  # the kernel counts in ticks of 10 ms; one tick of a short run says nothing
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: all but idle and waiting for a disk
_STEAL_FIELD = 7


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Ticks since the machine started, summed over the CPUs on which we measure."""

    busy: int
    steal: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the counters; None where the system keeps none.

    Attributes:
        ticks: What the CPUs did.
        throttled_periods: Scheduling periods that the quotas of our own groups cut short so far.
        load_average: Over one minute.
        own_seconds: CPU time of this process and of its children that have ended.
        wall_seconds: A monotonic clock.
        frequency_mhz: Mean over those CPUs.
        temperature_c: Of the hottest sensor of the processor.
        throttling: Bits of a Raspberry Pi's `vcgencmd get_throttled`; those of now may have been seen on the way.
        cpus: CPUs over which the ticks are summed.
    """

    ticks: CpuTicks | None
    throttled_periods: int | None
    load_average: float | None
    own_seconds: float | None = None
    wall_seconds: float | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    throttling: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The difference of two snapshots.

    Attributes:
        steal_fraction: Share of the busy time that went to other virtual machines; None when unknown.
        throttled_periods: Scheduling periods that any CPU quota cut short, ours or that of the measured processes; None
            when unknown.
        foreign_share: Share of the CPUs' time that other programs took; None when unknown.
        invalid_reasons: Why the numbers must not be relied on; empty for a valid run.
        notes: What a reader should know although the run counts.
    """

    steal_fraction: float | None
    throttled_periods: int | None
    foreign_share: float | None
    invalid_reasons: tuple[str, ...]
    notes: tuple[str, ...]


def take_snapshot(cpus: Collection[int] | None = None) -> Snapshot:
    """Read the counters now.

    Args:
        cpus: Those to which the measured processes keep; all that this process may use when left out. Idle CPUs beside
            them would hide what happens on them.
    """
    cpus = affinity() if cpus is None else cpus
    try:
        ticks = parse_stat(STAT.read_text(encoding="ascii", errors="replace"), cpus)
    except OSError:
        ticks = None
    return Snapshot(
        ticks=ticks,
        throttled_periods=read_throttled_periods(),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        own_seconds=sum(os.times()[:4]),
        wall_seconds=time.monotonic(),
        frequency_mhz=sensors.frequency_mhz(cpus=cpus),
        temperature_c=sensors.temperature_c(),
        throttling=sensors.raspberry_throttling(),
        cpus=len(cpus),
    )


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


def compare(
    before: Snapshot,
    after: Snapshot,
    cpus: int,
    *,
    worker_throttled: int | None = None,
    quota_is_tested: bool = False,
) -> Disturbance:
    """Judge what happened between two snapshots.

    Args:
        before: Taken before the first process was started.
        after: Taken when all of them had ended.
        cpus: CPUs that the machine grants us.
        worker_throttled: Scheduling periods that the quotas of the measured processes' own groups cut short.
        quota_is_tested: Whether these quotas are what the run is about: then being stopped by them is only noted. Those
            around all of us still make it invalid.
    """
    reasons: list[str] = []
    notes: list[str] = []
    steal_fraction = _judge_steal(before.ticks, after.ticks, reasons)
    around = _difference(before.throttled_periods, after.throttled_periods)
    _judge_quota(around, reasons)
    _judge_quota(worker_throttled, notes if quota_is_tested else reasons)
    known = [periods for periods in (around, worker_throttled) if periods is not None]
    foreign = _foreign_share(before, after)
    _judge_foreign(foreign, reasons, notes)
    _judge_board(before.throttling, after.throttling, reasons, notes)
    _note_clock_and_heat(before, after, notes)
    if before.load_average is not None and before.load_average > 0.5 * cpus:
        notes.append(
            f"load average {before.load_average:.1f} at the start: other programs may have been running; "
            "close them and wait a minute"
        )
    return Disturbance(steal_fraction, sum(known) if known else None, foreign, tuple(reasons), tuple(notes))


def _judge_steal(before: CpuTicks | None, after: CpuTicks | None, reasons: list[str]) -> float | None:
    if before is None or after is None:
        return None
    busy, steal = after.busy - before.busy, after.steal - before.steal
    fraction = steal / busy if busy > 0 else 0.0
    if fraction > MOST_STEAL and steal >= _FEWEST_TICKS:
        reasons.append(
            f"other virtual machines took {100 * fraction:.1f} % of the processor time (steal): "
            "measure again later, or on a machine of your own"
        )
    return fraction


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _judge_quota(throttled: int | None, messages: list[str]) -> None:
    if throttled:
        messages.append(
            f"the CPU quota stopped the measurement in {throttled} scheduling periods: "
            "use fewer threads, or raise the quota"
        )


def _foreign_share(before: Snapshot, after: Snapshot) -> float | None:
    """Return the share of the CPUs' time that was busy with neither us, our children nor another virtual machine.

    Our own process counts wholly, although it may run beside the CPUs that its children keep to: it waits while they
    work, and a small share that is missed is better than our own work being called foreign.
    """
    if before.ticks is None or after.ticks is None or not hasattr(os, "sysconf"):
        return None
    if None in (before.own_seconds, after.own_seconds, before.wall_seconds, after.wall_seconds):
        return None
    busy = after.ticks.busy - before.ticks.busy - (after.ticks.steal - before.ticks.steal)
    own = (after.own_seconds or 0.0) - (before.own_seconds or 0.0)
    wall = (after.wall_seconds or 0.0) - (before.wall_seconds or 0.0)
    foreign = busy / os.sysconf("SC_CLK_TCK") - own
    return round(min(1.0, max(0.0, foreign / (wall * (after.cpus or len(affinity()))))), 4) if wall > 0 else None


def _judge_foreign(share: float | None, reasons: list[str], notes: list[str]) -> None:
    if share is None or share <= NOTED_FOREIGN:
        return
    messages = reasons if share > MOST_FOREIGN else notes
    messages.append(
        f"other programs took {100 * share:.0f} % of the processor time: close them (`top` names them) "
        "and measure again"
    )


def _judge_board(before: int | None, after: int | None, reasons: list[str], notes: list[str]) -> None:
    """Judge a Raspberry Pi's own record of what slowed it down."""
    if before is None or after is None:
        return
    now = before | after | sensors.since_start(after) & ~sensors.since_start(before)
    words = sensors.throttle_words(now)
    if words:
        reasons.append(
            f"the board reports {', '.join(words)} during the run: use a stronger power supply, or cool it, "
            "and measure again"
        )
    earlier = sensors.throttle_words(sensors.since_start(before) & ~now)
    if earlier:
        notes.append(f"the board reports {', '.join(earlier)} before the run: check power supply and cooling")


def _note_clock_and_heat(before: Snapshot, after: Snapshot, notes: list[str]) -> None:
    first, last = before.frequency_mhz, after.frequency_mhz
    if first is not None and last is not None and last < _SLOWER_CLOCK * first:
        notes.append(
            f"the clock went from {first:.0f} to {last:.0f} MHz: set the governor to `performance`, or cool the device"
        )
    if after.temperature_c is not None and after.temperature_c >= _HOT_C:
        notes.append(
            f"the processor was at {after.temperature_c:.0f} °C at the end: cool it, or measure with `minutes`"
        )
