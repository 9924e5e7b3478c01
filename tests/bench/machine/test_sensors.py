"""Clock, heat and a Raspberry Pi's own record, on made-up machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkd_bench.machine import sensors
from hrkd_bench.machine.sensors import frequency_mhz, parse_throttled, raspberry_throttling, temperature_c


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


def test_the_hottest_sensor_of_the_processor_counts(tmp_path: Path) -> None:
    """Prevents the temperature of a battery or disk, or thousandths of a degree, from standing for the processor's."""
    thermal = write(
        tmp_path / "thermal",
        {
            "thermal_zone0/type": "cpu-thermal\n",
            "thermal_zone0/temp": "61200\n",
            "thermal_zone1/type": "battery\n",
            "thermal_zone1/temp": "88000\n",
            "thermal_zone2/type": "soc-thermal",
            "thermal_zone2/temp": "-274000",
        },
    )
    hwmon = write(
        tmp_path / "hwmon",
        {"hwmon0/name": "coretemp", "hwmon0/temp1_input": "55000", "hwmon0/temp2_input": "70300", "hwmon1/name": "nvme"}
        | {"hwmon1/temp1_input": "91000"},
    )
    assert temperature_c(thermal, hwmon) == 70.3
    assert temperature_c(thermal, tmp_path / "absent") == 61.2
    assert temperature_c(tmp_path / "absent", tmp_path / "absent") is None


def test_the_clock_is_the_mean_of_our_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an idle neighbour's low clock from counting, and kHz from being taken for MHz."""
    monkeypatch.setattr(sensors, "affinity", lambda: [0, 2])
    speeds = {0: 2400000, 1: 800000, 2: 2000000}
    folder = write(tmp_path, {f"cpu{n}/cpufreq/scaling_cur_freq": f"{khz}\n" for n, khz in speeds.items()})
    assert frequency_mhz(folder, tmp_path / "absent") == 2200.0


def test_the_clock_of_cpuinfo_is_second_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents "unknown" in a virtual machine that says it elsewhere."""
    monkeypatch.setattr(sensors, "affinity", lambda: [1])
    cpuinfo = write(tmp_path, {"cpuinfo": "processor: 0\ncpu MHz\t\t: 1000.5\n\nprocessor: 1\ncpu MHz\t\t: 3000.0\n"})
    assert frequency_mhz(tmp_path / "absent", cpuinfo / "cpuinfo") == 3000.0
    assert frequency_mhz(tmp_path / "absent", tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("throttled=0x50005\n", 0x50005),
        ("throttled=0x0", 0),
        ("error=1 error_msg=x", None),
        ("", None),
        ("throttled=", None),
    ],
)
def test_throttled_bits(text: str, bits: int | None) -> None:
    """Prevents a crash, or "all is well", on an answer that says something else."""
    assert parse_throttled(text) == bits


@pytest.mark.parametrize(
    ("script", "bits"),
    [
        ('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x80008\n', 0x80008),
        ("#!/bin/sh\nexit 1\n", None),
        ("#!/bin/sh\nexec sleep 30\n", None),
    ],
)
def test_the_boards_tool_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, bits: int | None
) -> None:
    """Prevents a broken or hanging tool of the board from holding the measurement up."""
    tool = write(tmp_path, {"vcgencmd": script}) / "vcgencmd"
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sensors, "_VCGENCMD_SECONDS", 0.3)
    assert raspberry_throttling() == bits


def test_the_clock_of_chosen_cpus(tmp_path: Path) -> None:
    """Prevents the mean over idle CPUs from standing for the clock of the one that is measured."""
    for number, kilohertz in enumerate((800_000, 800_000, 2_400_000)):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{kilohertz}\n", encoding="ascii")
    assert frequency_mhz(tmp_path, tmp_path / "absent", [2]) == 2400.0


def test_other_machines_have_no_such_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an error everywhere but on a Raspberry Pi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert raspberry_throttling() is None
