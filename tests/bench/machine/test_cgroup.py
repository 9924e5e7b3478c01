"""Limits of control groups in hierarchies of version 1, and of both versions side by side."""

from __future__ import annotations

from pathlib import Path

from hrkd_bench.machine.cgroup import CgroupLimits, parse_throttled, read_limits, read_throttled_periods


class Hierarchy:
    """A made-up `/sys/fs/cgroup` with this process's place in it."""

    def __init__(self, folder: Path, membership: str) -> None:
        self.root, self.membership = folder / "cgroup", folder / "membership"
        self.root.mkdir()
        self.membership.write_text(membership, encoding="ascii")

    def put(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="ascii")

    @property
    def limits(self) -> CgroupLimits:
        return read_limits(self.root, self.membership)

    @property
    def throttled(self) -> int | None:
        return read_throttled_periods(self.root, self.membership)


def test_throttled_periods_are_found_among_the_others() -> None:
    """Prevents throttled time (nanoseconds) from being taken for periods."""
    assert parse_throttled("nr_periods 100\nnr_throttled 7\nthrottled_time 123456\n") == 7
    assert parse_throttled("usage_usec 5\nuser_usec 4\n") is None


def test_version_2(tmp_path: Path) -> None:
    """Prevents a limit of a parent group from being overlooked: the tightest one counts."""
    group = Hierarchy(tmp_path, "0::/user.slice/job.scope\n")
    assert group.limits == CgroupLimits(None, None)
    assert group.throttled is None
    group.put("user.slice/job.scope/cpu.max", "max 100000\n")
    group.put("user.slice/job.scope/memory.max", "max\n")
    assert group.limits == CgroupLimits(None, None)
    group.put("user.slice/cpu.max", "250000 100000\n")
    group.put("user.slice/memory.max", "4000000000\n")
    assert group.limits == CgroupLimits(2.5, 4_000_000_000)
    group.put("user.slice/job.scope/cpu.max", "50000 100000\n")
    group.put("user.slice/job.scope/memory.max", "1000000000\n")
    assert group.limits == CgroupLimits(0.5, 1_000_000_000)
    group.put("user.slice/job.scope/cpu.stat", "nr_periods 9\nnr_throttled 2\n")
    group.put("user.slice/cpu.stat", "nr_periods 9\nnr_throttled 3\n")
    assert group.throttled == 5


def test_version_1(tmp_path: Path) -> None:
    """Prevents version 1's -1 and its number near 2**63 from being read as limits."""
    group = Hierarchy(tmp_path, "5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n")
    group.put("cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n")
    group.put("cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    group.put("memory/job/memory.limit_in_bytes", "9223372036854771712\n")
    assert group.limits == CgroupLimits(None, None)
    group.put("cpu,cpuacct/job/cpu.cfs_quota_us", "75000\n")
    group.put("memory/job/memory.limit_in_bytes", "1073741824\n")
    group.put("cpu,cpuacct/job/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 9\n")
    assert group.limits == CgroupLimits(0.75, 1_073_741_824)
    assert group.throttled == 1


def test_both_versions_side_by_side(tmp_path: Path) -> None:
    """Prevents a limit of version 2 from being missed where it is mounted below version 1."""
    group = Hierarchy(tmp_path, "4:cpu,cpuacct:/\n0::/job\n")
    group.put("cpu/cpu.cfs_quota_us", "300000\n")
    group.put("cpu/cpu.cfs_period_us", "100000\n")
    assert group.limits.cpus == 3.0
    group.put("unified/job/cpu.max", "200000 100000\n")
    assert group.limits.cpus == 2.0
