"""Reading the machine: processors, control groups and disturbances, on made-up samples of several machines."""

from __future__ import annotations

from pathlib import Path

import pytest

import hrkd_bench.machine.cpus
from hrkd_bench.machine.cgroup import CgroupLimits, parse_cpu_max, read_limits, read_throttled_periods
from hrkd_bench.machine.cpus import available_cpus
from hrkd_bench.machine.disturbance import CpuTicks, Snapshot, compare, parse_stat, take_snapshot
from hrkd_bench.machine.environment import describe_environment
from hrkd_bench.machine.processor import parse_cpuinfo

X86 = """\
processor\t: 0
vendor_id\t: MadeUpVendor
model name\t: Made-Up Server 9000
flags\t\t: fpu sse4_2 fma avx avx2 avx512f avx512_vnni avx_vnni amx_int8 rdtscp

processor\t: 1
vendor_id\t: MadeUpVendor
model name\t: Made-Up Server 9000
flags\t\t: fpu sse4_2 fma avx avx2 avx512f avx512_vnni avx_vnni amx_int8 rdtscp
"""
_PI_CORE = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
PI_4 = (
    "".join(_PI_CORE.format(number=number) for number in range(4))
    + "Revision\t: c00000\nSerial\t\t: 00000000deadbeef\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
)
_ORIN_CORE = """\
processor\t: {number}
model name\t: ARMv8 Processor rev 1 (v8l)
BogoMIPS\t: 62.50
Features\t: fp asimd aes sha1 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat ilrcpc flagm
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd42

"""
JETSON = "".join(_ORIN_CORE.format(number=number) for number in range(6))
BIG_LITTLE = """\
processor : 0
Features : asimd asimddp
CPU implementer : 0x41
CPU part : 0xd03

processor : 1
Features : asimd asimddp i8mm
CPU implementer : 0x99
CPU part : 0x123
"""


def test_x86_processor() -> None:
    """Prevents a report that hides whether the int8 kernels had VNNI."""
    processor = parse_cpuinfo(X86, "x86_64")
    assert processor.model == "Made-Up Server 9000"
    assert processor.logical_cpus == 2
    assert processor.features == ("amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "avx_vnni", "fma", "sse4_2")


def test_raspberry_pi_4() -> None:
    """Prevents "unknown" on machines without a model name, and the serial number in a report."""
    processor = parse_cpuinfo(PI_4, "aarch64", "Raspberry Pi 4 Model B Rev 1.4\0")
    assert processor.model == "Raspberry Pi 4 Model B Rev 1.4 (Cortex-A72)"
    assert processor.logical_cpus == 4
    assert processor.features == ("asimd",)
    assert parse_cpuinfo(PI_4, "aarch64") == processor
    assert "deadbeef" not in repr(processor)


def test_jetson() -> None:
    """Prevents the kernel's generic "ARMv8 Processor" from hiding the board and its dot-product instructions."""
    processor = parse_cpuinfo(JETSON, "aarch64", "NVIDIA Jetson Orin Nano Developer Kit\0")
    assert processor.model == "NVIDIA Jetson Orin Nano Developer Kit (Cortex-A78AE)"
    assert processor.logical_cpus == 6
    assert processor.features == ("asimd", "asimddp", "asimdhp")


def test_unlike_cores() -> None:
    """Prevents a promise of instructions that only some of the cores have."""
    processor = parse_cpuinfo(BIG_LITTLE, "aarch64")
    assert processor.model == "Cortex-A53 + ARM core 0x99/0x123"
    assert processor.features == ("asimd", "asimddp")


def test_empty_cpuinfo() -> None:
    """Prevents a crash on systems without the file."""
    assert parse_cpuinfo("", "arm64").model == "arm64"


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("150000 100000\n", 1.5),
        ("max 100000\n", None),
        ("-1 100000", None),
        ("", None),
        ("5", None),
        ("100000 0", None),
        ("zzz 1", None),
    ],
)
def test_cpu_max(text: str, cpus: float | None) -> None:
    """Prevents "no limit" from being read as a number, and a crash on what old kernels write."""
    assert parse_cpu_max(text) == cpus


def test_cgroup_2_takes_the_tightest_ancestor(tmp_path: Path) -> None:
    """Prevents a container's own "max" from hiding the limit of the pod around it."""
    root = write_tree(
        tmp_path / "fs",
        {
            "pod/cpu.max": "200000 100000",
            "pod/memory.max": "1000000",
            "pod/box/cpu.max": "max 100000",
            "pod/box/memory.max": "max",
            "pod/box/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n",
        },
    )
    membership = write_tree(tmp_path, {"cgroup": "0::/pod/box\n"}) / "cgroup"
    assert read_limits(root, membership) == CgroupLimits(2.0, 1_000_000)
    assert read_throttled_periods(root, membership) == 4


def test_cgroup_1_inside_a_container(tmp_path: Path) -> None:
    """Prevents missing the limit where the path in /proc names a folder that the container cannot see."""
    root = write_tree(
        tmp_path / "fs",
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    membership = write_tree(tmp_path, {"cgroup": "4:memory:/box/1\n3:cpu,cpuacct:/box/1\n1:name=systemd:/\n"})
    assert read_limits(root, membership / "cgroup") == CgroupLimits(0.5, None)
    assert read_throttled_periods(root, membership / "cgroup") is None


def test_no_cgroup(tmp_path: Path) -> None:
    """Prevents a crash on systems without control groups."""
    assert read_limits(tmp_path, tmp_path / "absent") == CgroupLimits(None, None)


@pytest.mark.parametrize(("quota", "cpus"), [("max", 8), ("150000", 1), ("50000", 1), ("300000", 3), ("9900000", 8)])
def test_available_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cpus: int) -> None:
    """Prevents as many threads as the host has cores, which a quota then stops in every period."""
    monkeypatch.setattr(hrkd_bench.machine.cpus, "affinity", lambda: list(range(8)))
    root = write_tree(tmp_path / "fs", {"cpu.max": f"{quota} 100000"})
    membership = write_tree(tmp_path, {"cgroup": "0::/\n"}) / "cgroup"
    assert available_cpus(root, membership) == cpus


def test_stat_counts_our_cpus_only() -> None:
    """Prevents idle neighbours from diluting the steal time of the one CPU that we may use."""
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 1 10 5000 70 2 3 4 0 0\ncpu1 1 1 1 1 1 1 1 500 0 0\nintr 5\n"
    assert parse_stat(text, [0]) == CpuTicks(busy=120, steal=4)
    assert parse_stat(text, [0, 1]) == CpuTicks(busy=120 + 505, steal=504)
    assert parse_stat("cpu 1 2 3", [0]) is None


def snapshot(busy: int = 0, steal: int = 0, throttled: int | None = 0, load: float = 0.0) -> Snapshot:
    return Snapshot(CpuTicks(busy, steal), throttled, load)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (snapshot(busy=1000, steal=10), None),
        (snapshot(busy=1000, steal=11), "1.1 % of the processor time"),
        (snapshot(busy=50, steal=2), None),
        (snapshot(busy=1000, throttled=3), "stopped the measurement in 3 scheduling periods"),
        (snapshot(busy=0), None),
        (Snapshot(None, None, None), None),
    ],
)
def test_disturbed_runs_are_invalid(after: Snapshot, words: str | None) -> None:
    """Prevents numbers about the neighbours from being published as numbers about the model."""
    disturbance = compare(snapshot(), after, 2)
    assert len(disturbance.invalid_reasons) == (words is not None)
    assert words is None or words in disturbance.invalid_reasons[0]


def test_load_is_a_note_and_does_not_invalidate() -> None:
    """Prevents every run right after a training from being called invalid: the load average looks a minute back."""
    disturbance = compare(snapshot(load=1.9), snapshot(busy=10, load=1.9), 2)
    assert disturbance.invalid_reasons == ()
    assert "load average 1.9" in disturbance.notes[0]
    assert compare(snapshot(load=0.4), snapshot(busy=10), 2).notes == ()


def test_this_machine_can_be_described() -> None:
    """Prevents parsers that only know the samples above."""
    environment = describe_environment()
    assert environment.available_cpus >= 1
    assert environment.memory_bytes > 10**8
    assert {"hrkd", "onnxruntime", "numpy"} <= set(environment.versions)
    assert take_snapshot().load_average is not None
