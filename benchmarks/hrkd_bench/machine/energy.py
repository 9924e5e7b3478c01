"""Energy, where this machine really has a meter: RAPL, an INA sensor, or a battery that is discharging. Never guessed.

Counters (RAPL) are read before and after. A sensor of power is sampled while the work goes on, and the mean is taken:
cheap ones change a few times a second only, so the work must be long enough for many readings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from hrkd.errors import BenchError

POWERCAP = Path("/sys/class/powercap")
HWMON = Path("/sys/class/hwmon")
POWER_SUPPLY = Path("/sys/class/power_supply")
_SAMPLE_SECONDS = 0.01
_FEWEST_READINGS = 5
"""Different readings of a sensor below which a mean says nothing."""


class Meter(Protocol):
    """Something that measures energy.

    Attributes:
        name: What it is, for readers.
        covers: What it measures: other programs on it count as well.
        seconds: How long to work for a trustworthy mean.
    """

    name: str
    covers: str
    seconds: float

    def measure(self, work: Callable[[], None]) -> float:
        """Return the joules that were used during ``work``."""
        ...


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules of some work.

    Attributes:
        meter: What measured it.
        covers: What that includes.
        texts: Texts that were answered.
        joules_per_text: Everything that was used, over the texts.
        joules_per_text_above_idle: Likewise without what the machine uses in the same time when idle.
        idle_watts: What it uses when idle, measured before.
    """

    meter: str
    covers: str
    texts: int
    joules_per_text: float
    joules_per_text_above_idle: float
    idle_watts: float


def find_meter(
    powercap: Path = POWERCAP, hwmon: Path = HWMON, power_supply: Path = POWER_SUPPLY
) -> tuple[Meter | None, str]:
    """Return the best meter of this machine, and why there is none where there is none."""
    domains = [
        folder for folder in sorted(powercap.glob("intel-rapl:*")) if _read(folder / "name").startswith("package")
    ]
    if domains and all(_number(folder / "energy_uj") is not None for folder in domains):
        return Counter(domains), ""
    chips = [chip for chip in sorted(hwmon.glob("hwmon*")) if _read(chip / "name").startswith("ina")]
    sensor = _board_sensor(chips)
    if sensor is not None:
        return sensor, ""
    for battery in sorted(power_supply.glob("*")):
        if _read(battery / "type") == "Battery" and _read(battery / "status") == "Discharging":
            watts = _battery_watts(battery)
            if watts is not None:
                return Sensor(f"battery {battery.name}", "the whole device, its screen included", watts, 60.0), ""
    if domains:
        return None, f"`{domains[0] / 'energy_uj'}` may be read by root only: run as root, or let it be read"
    if chips:
        return None, f"of {len(chips)} INA sensor(s) none is labelled as the board's input, and one rail is no board"
    return None, "this machine has no meter: neither RAPL, nor an INA sensor, nor a battery that is discharging"


def measure_energy(meter: Meter, answer: Callable[[], int], rest: Callable[[float], None] = time.sleep) -> Energy:
    """Measure the idle machine, then answer texts for as long as the meter needs.

    Args:
        meter: What to read.
        answer: Answers some texts and returns how many.
        rest: Waits for so many seconds.

    Raises:
        BenchError: The meter stands still.
    """
    idle_start = time.perf_counter()
    idle = meter.measure(lambda: rest(meter.seconds))
    idle_watts = idle / (time.perf_counter() - idle_start)
    texts, start = 0, time.perf_counter()

    def work() -> None:
        nonlocal texts
        while time.perf_counter() - start < meter.seconds or texts == 0:
            texts += answer()

    gross = meter.measure(work)
    net = gross - idle_watts * (time.perf_counter() - start)
    return Energy(meter.name, meter.covers, texts, gross / texts, net / texts, idle_watts)


class Counter:
    """RAPL: microjoules of each processor package since some time; they begin anew after a maximum."""

    name = "RAPL"
    covers = "the processor package, whatever runs on it"
    seconds = 5.0

    def __init__(self, domains: Sequence[Path]) -> None:
        self._domains = domains

    def measure(self, work: Callable[[], None]) -> float:
        """Return the joules that were used during ``work``.

        Raises:
            BenchError: A counter stands still, or cannot be read any more.
        """
        before = [_number(folder / "energy_uj") for folder in self._domains]
        work()
        after = [_number(folder / "energy_uj") for folder in self._domains]
        ranges = [_number(folder / "max_energy_range_uj") for folder in self._domains]
        used = [energy_between(*values) for values in zip(before, after, ranges, strict=True)]
        known = [joules for joules in used if joules is not None]
        if len(known) < len(used) or sum(known) <= 0:
            raise BenchError("the RAPL counters stand still or are gone", hint="measure without energy")
        return sum(known)


def energy_between(before: int | None, after: int | None, maximum: int | None) -> float | None:
    """Return the joules between two readings in microjoules, one overflow allowed for; None when that is not known."""
    if before is None or after is None:
        return None
    if after < before and maximum is None:
        return None
    used = after - before if after >= before else after - before + (maximum or 0)
    return used / 1e6


class Sensor:
    """A sensor of power, sampled in the background.

    Args:
        name: What it is.
        covers: What it measures.
        watts: Reads it; None when it cannot be read just now.
        seconds: How long to work.
    """

    def __init__(self, name: str, covers: str, watts: Callable[[], float | None], seconds: float) -> None:
        self.name = name
        self.covers = covers
        self.seconds = seconds
        self._watts = watts

    def measure(self, work: Callable[[], None]) -> float:
        """Return the joules that were used during ``work``: mean power times time.

        Raises:
            BenchError: The sensor gave too few different readings.
        """
        readings: list[float] = []
        stop = threading.Event()

        def sample() -> None:
            while not stop.is_set():
                value = self._watts()
                if value is not None:
                    readings.append(value)
                stop.wait(_SAMPLE_SECONDS)

        thread = threading.Thread(target=sample, daemon=True)
        start = time.perf_counter()
        thread.start()
        try:
            work()
        finally:
            elapsed = time.perf_counter() - start
            stop.set()
            thread.join()
        changes = sum(first != second for first, second in pairwise(readings))
        if changes < _FEWEST_READINGS:
            raise BenchError(
                f"{self.name} gave {changes} new reading(s) in {elapsed:.0f} s, too few for a mean",
                hint="measure without energy, or for longer",
            )
        return sum(readings) / len(readings) * elapsed


def _board_sensor(chips: Sequence[Path]) -> Sensor | None:
    """Return the sensor of an input rail, or a lone chip; sums over rails would count some twice.

    Args:
        chips: Folders of all INA chips. One without labels may sit on any rail, so it stands for itself alone.
    """
    for chip in chips:
        for label_file in sorted(chip.glob("in*_label")):
            label, channel = _read(label_file), label_file.name.removeprefix("in").removesuffix("_label")
            if label.endswith("_IN") and _product(chip, channel) is not None:
                name = f"INA sensor ({_read(chip / 'name')} {label})"
                return Sensor(name, "the whole board behind its input", partial(_product, chip, channel), 10.0)
    if len(chips) == 1 and _number(chips[0] / "power1_input") is not None:
        watts = partial(_microwatts, chips[0] / "power1_input")
        return Sensor(f"INA sensor ({_read(chips[0] / 'name')})", "whatever its shunt feeds", watts, 10.0)
    return None


def _product(chip: Path, channel: str) -> float | None:
    millivolts, milliamperes = _number(chip / f"in{channel}_input"), _number(chip / f"curr{channel}_input")
    return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6


def _battery_watts(battery: Path) -> Callable[[], float | None] | None:
    ways = (partial(_microwatts, battery / "power_now"), partial(_volts_times_amperes, battery))
    return next((watts for watts in ways if watts() is not None), None)


def _volts_times_amperes(battery: Path) -> float | None:
    microvolts, microamperes = _number(battery / "voltage_now"), _number(battery / "current_now")
    return None if microvolts is None or microamperes is None else abs(microvolts * microamperes) / 1e12


def _microwatts(path: Path) -> float | None:
    value = _number(path)
    return None if value is None else abs(value) / 1e6  # some drivers write discharge as a negative number


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
