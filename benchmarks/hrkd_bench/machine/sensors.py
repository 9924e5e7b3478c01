"""What the machine says about its clock and its heat; None wherever it does not say.

The files of the kernel are read directly: a device may have nothing but numpy and an engine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

from hrkd_bench.machine.cpus import affinity

CPU_FOLDER = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
THERMAL = Path("/sys/class/thermal")
HWMON = Path("/sys/class/hwmon")
_PROCESSOR_WORDS = ("cpu", "soc", "pkg", "core", "k10temp", "zenpower")
_BROKEN_SENSOR_C = 150.0  # beyond what silicon survives
_VCGENCMD_SECONDS = 2.0
THROTTLE_BITS = {0: "under-voltage", 1: "capped clock", 2: "throttling", 3: "soft temperature limit"}
"""Bits of `vcgencmd get_throttled` for now; 16 higher they say that it has happened since the board was started."""


def frequency_mhz(
    folder: Path = CPU_FOLDER, cpuinfo: Path = CPUINFO, cpus: Collection[int] | None = None
) -> float | None:
    """Return the clock now, mean over ``cpus``, or over those that this process may use."""
    cpus = affinity() if cpus is None else cpus
    kilohertz = [_number(folder / f"cpu{number}" / "cpufreq" / "scaling_cur_freq") for number in cpus]
    known = [value / 1000 for value in kilohertz if value is not None]
    if not known:
        megahertz = dict(enumerate(_cpuinfo_mhz(_read(cpuinfo) or "")))
        known = [megahertz[number] for number in cpus if number in megahertz]
    return round(sum(known) / len(known), 1) if known else None


def temperature_c(thermal: Path = THERMAL, hwmon: Path = HWMON) -> float | None:
    """Return the temperature of the processor's hottest sensor, in degrees Celsius."""
    found = [(_read(zone / "type"), _number(zone / "temp")) for zone in sorted(thermal.glob("thermal_zone*"))]
    for chip in sorted(hwmon.glob("hwmon*")):
        found += [(_read(chip / "name"), _number(sensor)) for sensor in sorted(chip.glob("temp*_input"))]
    return _hottest((name, value / 1000) for name, value in found if name and value is not None)


def raspberry_throttling() -> int | None:
    """Return the bits of `vcgencmd get_throttled`; None on anything but a Raspberry Pi."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            [program, "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_throttled(answer.stdout)


def parse_throttled(text: str) -> int | None:
    """Read ``throttled=0x50005``."""
    name, _, value = text.strip().partition("=")
    try:
        return int(value, 16) if name == "throttled" else None
    except ValueError:
        return None


def throttle_words(bits: int) -> list[str]:
    """Name the conditions that hold now."""
    return [word for bit, word in THROTTLE_BITS.items() if bits & 1 << bit]


def since_start(bits: int) -> int:
    """Return the bits that have been set since the board was started, moved to the places of now."""
    return bits >> 16 & (1 << len(THROTTLE_BITS)) - 1


def _hottest(readings: Iterable[tuple[str, float]]) -> float | None:
    """Keep sensors whose name speaks of a processor: batteries and disks have some as well."""
    values = [value for name, value in readings if any(word in name.lower() for word in _PROCESSOR_WORDS)]
    plausible = [value for value in values if 0 < value < _BROKEN_SENSOR_C]
    return round(max(plausible), 1) if plausible else None


def _cpuinfo_mhz(text: str) -> list[float]:
    lines = (line.partition(":") for line in text.splitlines())
    return [float(value) for name, _, value in lines if name.strip() == "cpu MHz"]


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
