"""What makes a run invalid, what is only noted, and that every message says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd_bench.machine import disturbance
from hrkd_bench.machine.disturbance import CpuTicks, Snapshot, compare, take_snapshot

TICKS = os.sysconf("SC_CLK_TCK")


def snapshot(**values: Any) -> Snapshot:
    defaults: dict[str, Any] = {"ticks": CpuTicks(0, 0), "throttled_periods": 0, "load_average": 0.0}
    return Snapshot(**(defaults | {"own_seconds": 0.0, "wall_seconds": 0.0} | values))


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "affinity", lambda: [0, 1])


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize(
    ("busy_seconds", "own_seconds", "share", "invalid", "noted"),
    [
        (100, 100, 0.0, False, False),
        (99, 100, 0.0, False, False),
        (105, 100, 0.025, False, False),
        (112, 100, 0.06, False, True),
        (130, 100, 0.15, True, False),
    ],
)
def test_other_programs_are_told_from_our_own_work(
    busy_seconds: float, own_seconds: float, share: float, invalid: bool, noted: bool
) -> None:
    """Prevents a run beside a compiler from being published, and our own work from being called foreign."""
    after = snapshot(ticks=CpuTicks(round(busy_seconds * TICKS), 0), own_seconds=own_seconds, wall_seconds=100.0)
    judged = compare(snapshot(), after, 2)
    assert judged.foreign_share == pytest.approx(share)
    assert (len(judged.invalid_reasons), len(judged.notes)) == (invalid, noted)
    assert all("other programs took" in text and "close them" in text for text in judged.invalid_reasons + judged.notes)


@pytest.mark.usefixtures("two_cpus")
def test_steal_is_not_counted_as_other_programs_too() -> None:
    """Prevents one neighbour from being reported as two disturbances, the second with useless advice."""
    after = snapshot(ticks=CpuTicks(150 * TICKS, 50 * TICKS), own_seconds=100.0, wall_seconds=100.0)
    judged = compare(snapshot(), after, 2)
    assert judged.foreign_share == 0.0
    assert len(judged.invalid_reasons) == 1
    assert "measure again later" in judged.invalid_reasons[0]


def test_children_count_as_our_own_work() -> None:
    """Prevents the measured processes themselves from being the "other programs"."""
    before = take_snapshot()
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(2_000_000))"], check=True)
    after = take_snapshot()
    assert before.own_seconds is not None
    assert after.own_seconds is not None
    assert after.own_seconds - before.own_seconds > 0.03


def test_a_quota_under_test_is_no_disturbance() -> None:
    """Prevents a profile with a quota from never having a valid result, and one without from hiding a quota."""
    assert "raise the quota" in compare(snapshot(), snapshot(), 2, worker_throttled=9).invalid_reasons[0]
    judged = compare(snapshot(), snapshot(), 2, worker_throttled=9, quota_is_tested=True)
    assert judged.invalid_reasons == ()
    assert "9 scheduling periods" in judged.notes[0]
    assert judged.throttled_periods == 9


def test_a_quota_around_the_one_under_test_still_is_one() -> None:
    """Prevents `--profile quota-1` in a container with half of a core from being valid."""
    judged = compare(snapshot(), snapshot(throttled_periods=4), 2, worker_throttled=9, quota_is_tested=True)
    assert "in 4 scheduling periods" in judged.invalid_reasons[0]
    assert "in 9 scheduling periods" in judged.notes[0]
    assert judged.throttled_periods == 13
    assert compare(snapshot(throttled_periods=None), snapshot(), 2).throttled_periods is None


@pytest.fixture
def many_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 CPUs that are all granted to us; returns its counters."""
    monkeypatch.setattr(disturbance, "affinity", lambda: list(range(64)))
    monkeypatch.setattr(disturbance, "STAT", tmp_path / "stat")
    return tmp_path / "stat"


def write_stat(stat: Path, user: int, steal: int) -> None:
    """Let CPU 5 alone have done something; ticks."""
    rows = [
        f"cpu{number} {user if number == 5 else 0} 0 0 9 0 0 0 {steal if number == 5 else 0}" for number in range(64)
    ]
    stat.write_text("\n".join(rows), encoding="ascii")


@pytest.mark.parametrize(
    ("user", "steal", "words"), [(100, 0, "other programs took 100 %"), (0, 100, "other virtual machines took 100.0 %")]
)
def test_idle_cpus_beside_the_pinned_one_dilute_nothing(many_cpus: Path, user: int, steal: int, words: str) -> None:
    """Prevents a neighbour on the one core that we keep to from being a 64th of a disturbance, which is none."""
    snapshots = []
    for seconds in (0, 100):
        write_stat(many_cpus, user * seconds * TICKS // 100, steal * seconds * TICKS // 100)
        snapshots.append(replace(take_snapshot([5]), own_seconds=0.0, wall_seconds=float(seconds), load_average=0.0))
    assert [one.cpus for one in snapshots] == [1, 1]
    [reason] = compare(*snapshots, 64).invalid_reasons
    assert words in reason


def test_the_clock_is_that_of_the_pinned_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents idle CPUs, which clock down, from making the measured one look throttled."""
    seen: list[Any] = []
    monkeypatch.setattr(disturbance.sensors, "frequency_mhz", lambda cpus: seen.append(cpus))
    take_snapshot([1])
    assert seen == [[1]]


@pytest.mark.parametrize(
    ("before", "after", "reason", "note"),
    [
        (0x0, 0x0, None, None),
        (0x0, 0x50000, "under-voltage, throttling", None),
        (0x0, 0x20002, "capped clock", None),
        (0x80008, 0x80000, "soft temperature limit", None),
        (0x10000, 0x10000, None, "under-voltage"),
        (0x10000, 0x50000, "throttling", "under-voltage"),
        (None, 0x5, None, None),
    ],
)
def test_a_boards_record_before_the_run_is_only_noted(
    before: int | None, after: int, reason: str | None, note: str | None
) -> None:
    """Prevents one brown-out at boot from making every run invalid, and one during the run from being missed."""
    judged = compare(snapshot(throttling=before), snapshot(throttling=after), 4)
    assert len(judged.invalid_reasons) == (reason is not None)
    assert reason is None or f"reports {reason} during the run: use a stronger" in judged.invalid_reasons[0]
    assert len(judged.notes) == (note is not None)
    assert note is None or f"reports {note} before the run: check" in judged.notes[0]


def test_a_falling_clock_and_heat_are_noted() -> None:
    """Prevents a device that slows down from looking like one that is slow."""
    judged = compare(
        snapshot(frequency_mhz=2400.0, temperature_c=50.0), snapshot(frequency_mhz=1500.0, temperature_c=84.6), 4
    )
    assert judged.invalid_reasons == ()
    assert "from 2400 to 1500 MHz: set the governor" in judged.notes[0]
    assert "85 °C" in judged.notes[1]
    assert compare(snapshot(frequency_mhz=1500.0), snapshot(frequency_mhz=2400.0), 4).notes == ()
