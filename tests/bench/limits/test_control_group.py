"""Groups that are made below ours: both versions on made-up hierarchies, and the machine's own where it lends one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrkd.errors import BenchError
from hrkd_bench.limits import control_group
from hrkd_bench.limits.confinement import Confinement, Limits
from hrkd_bench.limits.control_group import ControlGroup, Usage

V1_CPU = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cgroup.procs")
V1_MEMORY = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cgroup.procs")
V2 = ("cpu.max", "memory.max", "memory.swap.max", "cgroup.procs")
Make = Callable[..., ControlGroup]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up `/sys/fs/cgroup`: a new group has the files that its parent's `offers` names, as a kernel's has."""
    mkdir = Path.mkdir

    def populate(self: Path, *arguments: object, **options: object) -> None:
        mkdir(self, *arguments, **options)  # type: ignore[arg-type]
        offers = self.parent / "offers"
        for name in offers.read_text(encoding="ascii").split() if offers.exists() else ():
            (self / name).write_text("", encoding="ascii")

    monkeypatch.setattr(Path, "mkdir", populate)
    monkeypatch.setattr(Path, "rmdir", lambda self: shutil.rmtree(self))
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def put(folder: Path, offers: tuple[str, ...], control: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "offers").write_text(" ".join(offers), encoding="ascii")
    if control is not None:
        (folder / "cgroup.subtree_control").write_text(control, encoding="ascii")


def make(kernel: Path, membership: str, *, quota: float | None = None, memory: int | None = None) -> ControlGroup:
    file = kernel.parent / "membership"
    file.write_text(membership, encoding="ascii")
    return ControlGroup(quota=quota, memory_bytes=memory, root=kernel, membership=file)


def test_version_2_is_a_sibling_without_swap(kernel: Path) -> None:
    """Prevents a limit that swap undoes, and a group below ours, which the kernel forbids where processes are."""
    put(kernel / "user" / "scope", (), control="")
    put(kernel / "user", V2, control="cpu memory pids")
    group = make(kernel, "0::/user/scope\n", quota=0.5, memory=64_000_000)
    assert [folder.parent for folder in group.folders] == [kernel / "user"]
    assert group.version == 2
    written = {name: (group.folders[0] / name).read_text(encoding="ascii") for name in V2}
    assert written == {"cpu.max": "50000 100000", "memory.max": "64000000", "memory.swap.max": "0", "cgroup.procs": ""}
    folder = group.folders[0]
    (folder / "memory.peak").write_text("777\n", encoding="ascii")
    (folder / "cpu.stat").write_text("nr_periods 9\nnr_throttled 4\n", encoding="ascii")
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 1\n", encoding="ascii")
    assert group.usage() == Usage(777, 4, 1)
    group.remove()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "cpu", "memory"),
    [
        pytest.param({"memory": 256_000_000}, "50000 100000", "64000000", id="both of ours"),
        pytest.param({"quota": 0.2, "memory": 32_000_000}, "20000 100000", "32000000", id="tighter ones are asked for"),
        pytest.param({"quota": 1.0}, "50000 100000", "64000000", id="a wider one is asked for"),
    ],
)
def test_a_sibling_gets_our_own_limits_too(kernel: Path, options: dict[str, Any], cpu: str, memory: str) -> None:
    """Prevents processes that escape the half of a core that `systemd-run --scope` gave to hrkd, and the document."""
    put(kernel / "user" / "app" / "scope", (), control="")
    put(kernel / "user" / "app", V2, control="pids")
    put(kernel / "user", V2, control="cpu memory pids")
    (kernel / "user" / "app" / "scope" / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    (kernel / "user" / "app" / "scope" / "memory.max").write_text("max\n", encoding="ascii")
    (kernel / "user" / "app" / "cpu.max").write_text("90000 100000\n", encoding="ascii")
    (kernel / "user" / "app" / "memory.max").write_text("64000000\n", encoding="ascii")
    (kernel / "user" / "memory.max").write_text("16000000\n", encoding="ascii")  # holds there without us
    [folder] = make(kernel, "0::/user/app/scope\n", **options).folders
    assert folder.parent == kernel / "user"
    assert (folder / "cpu.max").read_text(encoding="ascii") == cpu
    assert (folder / "memory.max").read_text(encoding="ascii") == memory


def test_two_groups_of_version_2_are_refused(kernel: Path) -> None:
    """Prevents a quota that is lost when the process goes on from its CPU group to its memory group."""
    put(kernel / "user" / "scope", ("cpu.max", "cgroup.subtree_control"), control="cpu")
    put(kernel / "user", ("cpu.max", "memory.max", "cgroup.subtree_control"), control="cpu memory")
    with pytest.raises(BenchError, match="one group"):
        make(kernel, "0::/user/scope\n", quota=0.5, memory=64_000_000)
    assert not list(kernel.rglob("hrkd-*"))


def test_version_1_limits_memory_and_swap_together(kernel: Path) -> None:
    """Prevents a version 1 limit that lets the process swap, and one that is set in only one of two hierarchies."""
    put(kernel / "cpu,cpuacct" / "job", V1_CPU)
    put(kernel / "memory" / "job", V1_MEMORY)
    group = make(kernel, "4:cpu,cpuacct:/job\n5:memory:/job\n0::/\n", quota=1.5, memory=64_000_000)
    cpu, memory = group.folders
    assert group.version == 1
    assert (cpu / "cpu.cfs_quota_us").read_text(encoding="ascii") == "150000"
    assert (memory / "memory.limit_in_bytes").read_text(encoding="ascii") == "64000000"
    assert (memory / "memory.memsw.limit_in_bytes").read_text(encoding="ascii") == "64000000"
    group.remove()
    assert not cpu.exists()
    assert not memory.exists()


def test_swap_that_cannot_be_limited_is_refused(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a "fits into 64 MB" that was reached by swapping."""
    put(kernel / "job", ("memory.max", "cgroup.procs"), control="memory")
    monkeypatch.setattr(control_group, "_has_swap", lambda: True)
    with pytest.raises(BenchError, match="swap"):
        make(kernel, "0::/job\n", memory=64_000_000)
    assert not list((kernel / "job").glob("hrkd-*"))


@pytest.mark.parametrize(
    ("offers", "control"),
    [
        pytest.param(V2, "pids", id="the controller is not handed down"),
        pytest.param((), "cpu memory", id="the new group has no such file"),
    ],
)
def test_what_is_not_lent_is_refused_with_a_command(kernel: Path, offers: tuple[str, ...], control: str) -> None:
    """Prevents a measurement that says "256 MB" where nothing was limited, and half-made groups that stay."""
    put(kernel / "job", offers, control=control)
    with pytest.raises(BenchError, match="no control group") as caught:
        make(kernel, "0::/job\n", quota=0.5, memory=256_000_000)
    assert "systemd-run --scope -p CPUQuota=50% -p MemoryMax=256000000 -p MemorySwapMax=0" in str(caught.value.hint)
    assert not list(kernel.rglob("hrkd-*"))


def test_a_refusal_half_way_leaves_nothing(kernel: Path) -> None:
    """Prevents a CPU group that stays behind because the memory group was refused."""
    put(kernel / "cpu" / "job", V1_CPU)
    with pytest.raises(BenchError):
        make(kernel, "4:cpu:/job\n", quota=0.5, memory=256_000_000)
    assert not list(kernel.rglob("hrkd-*"))


def test_groups_of_the_killed_are_swept_up(kernel: Path) -> None:
    """Prevents groups that pile up after every kill, and the removal of one that another hrkd is using."""
    put(kernel / "job", V2, control="cpu memory")
    for name in ("hrkd-999999999-abc", f"hrkd-{os.getpid()}-abc", "hrkdx"):
        (kernel / "job" / name).mkdir()
    make(kernel, "0::/job\n", quota=0.5).remove()
    assert {path.name for path in (kernel / "job").glob("hrkd*")} == {f"hrkd-{os.getpid()}-abc", "hrkdx"}


def lent(limits: Limits) -> Confinement:
    try:
        return Confinement(limits)
    except BenchError as error:
        pytest.skip(f"no control group can be made here: {error.message}")


def test_the_kernel_ends_what_takes_more() -> None:
    """Prevents a limit that is written but never bites, because the process is not in the group."""
    code = "import sys; x = bytearray(int(sys.argv[1]) * 10**6); print(len(x))"
    for megabytes, survives in ((10, True), (100, False)):
        with lent(Limits(memory_bytes=60_000_000)) as confinement:
            command = confinement.command([sys.executable, "-S", "-c", code, str(megabytes)])
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            usage = confinement.usage()
            folders = list(confinement._group.folders) if confinement._group else []
        assert (done.returncode == 0) is survives, done
        assert (usage.peak_bytes or 0) > 10**6
        assert folders
        assert not any(folder.exists() for folder in folders)


def test_the_kernel_stops_what_runs_for_longer() -> None:
    """Prevents a quota that is written but does not hold: 0.1 s of work at a tenth of a core needs ten periods."""
    code = "import time\nwhile time.process_time() < 0.1: pass"
    with lent(Limits(quota=0.1)) as confinement:
        subprocess.run(confinement.command([sys.executable, "-S", "-c", code]), check=True)
        usage = confinement.usage()
    assert (usage.throttled_periods or 0) >= 2
