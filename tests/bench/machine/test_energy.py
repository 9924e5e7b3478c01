"""Energy comes from a meter or not at all: made-up meters of each kind."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd_bench.machine.energy import Counter, Meter, Sensor, energy_between, find_meter, measure_energy


def put(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n", encoding="ascii")
    return folder


def find(root: Path) -> tuple[Meter | None, str]:
    return find_meter(root / "powercap", root / "hwmon", root / "power_supply")


@pytest.mark.parametrize(
    ("before", "after", "maximum", "joules"),
    [
        (1_000_000, 4_000_000, 9_000_000, 3.0),
        (8_000_000, 1_000_000, 9_000_000, 2.0),  # the counter began anew
        (8_000_000, 1_000_000, None, None),
        (None, 1_000_000, 9_000_000, None),
    ],
)
def test_a_counter_that_begins_anew(
    before: int | None, after: int | None, maximum: int | None, joules: float | None
) -> None:
    """Prevents negative joules once an hour, and an overflow that is guessed where its size is unknown."""
    assert energy_between(before, after, maximum) == joules


def test_only_packages_count(tmp_path: Path) -> None:
    """Prevents energy that is counted twice: cores are part of their package, and psys contains it."""
    for folder, name in (("0", "package-0"), ("0:0", "core"), ("1", "psys"), ("2", "package-1")):
        put(tmp_path / "powercap" / f"intel-rapl:{folder}", name=name, energy_uj=5, max_energy_range_uj=9**9)
    meter, reason = find(tmp_path)
    assert isinstance(meter, Counter)
    assert reason == ""

    def work() -> None:
        for number in (0, 2):
            put(tmp_path / "powercap" / f"intel-rapl:{number}", energy_uj=2_000_005)
        put(tmp_path / "powercap" / "intel-rapl:1", energy_uj=90_000_005)

    assert meter.measure(work) == 4.0
    with pytest.raises(BenchError, match="stand still"):
        meter.measure(lambda: None)


def test_a_counter_of_root_only_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents "no meter" where there is one that we may not read."""
    folder = put(tmp_path / "powercap" / "intel-rapl:0", name="package-0", energy_uj=5)
    read = Path.read_text

    def refuse(self: Path, *arguments: object, **options: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "denied")
        return read(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    meter, reason = find(tmp_path)
    assert meter is None
    assert str(folder) in reason
    assert "root" in reason


def test_no_meter_is_said(tmp_path: Path) -> None:
    """Prevents an energy of 0 on a machine without a meter, or one of a battery that is charging."""
    put(tmp_path / "power_supply" / "BAT0", type="Battery", status="Charging", power_now=9_000_000)
    put(tmp_path / "hwmon" / "hwmon0", name="amdgpu", power1_input=9_000_000)
    meter, reason = find(tmp_path)
    assert meter is None
    assert "no meter" in reason


def test_the_input_rail_of_a_board(tmp_path: Path) -> None:
    """Prevents the sum over rails, which counts what flows through the input twice."""
    rails = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 2000}
    rails |= {"in2_label": "VDD_CPU", "in2_input": 5000, "curr2_input": 900}
    put(tmp_path / "hwmon" / "hwmon1", name="ina3221", **rails)
    meter, _ = find(tmp_path)
    assert isinstance(meter, Sensor)
    assert meter.name == "INA sensor (ina3221 VDD_IN)"
    assert meter._watts() == 10.0
    assert "whole board" in meter.covers
    put(tmp_path / "hwmon" / "hwmon0", name="ina219", power1_input=9_000_000)
    beside, _ = find(tmp_path)
    assert isinstance(beside, Sensor)
    assert beside.name == "INA sensor (ina3221 VDD_IN)"


def test_a_lone_chip_claims_only_its_shunt(tmp_path: Path) -> None:
    """Prevents one rail's power from being called the board's: no label says what the chip measures."""
    put(tmp_path / "hwmon" / "hwmon0", name="ina219", power1_input=9_000_000)
    meter, _ = find(tmp_path)
    assert isinstance(meter, Sensor)
    assert (meter.name, meter.covers) == ("INA sensor (ina219)", "whatever its shunt feeds")
    assert meter._watts() == 9.0


def test_one_of_many_rails_is_no_meter(tmp_path: Path) -> None:
    """Prevents joules per text of whichever of 18 rails the kernel counts first."""
    for number in range(18):
        put(tmp_path / "hwmon" / f"hwmon{number}", name="ina226", power1_input=100_000)
    meter, reason = find(tmp_path)
    assert meter is None
    assert "18 INA sensor(s)" in reason
    put(tmp_path / "power_supply" / "BAT0", type="Battery", status="Discharging", power_now=7_000_000)
    battery, _ = find(tmp_path)
    assert battery is not None
    assert battery.name == "battery BAT0"


@pytest.mark.parametrize(
    ("files", "watts"),
    [
        ({"power_now": 7_000_000}, 7.0),
        ({"power_now": -7_000_000}, 7.0),
        ({"voltage_now": 12_000_000, "current_now": 500_000}, 6.0),
    ],
)
def test_a_battery_that_is_discharging(tmp_path: Path, files: dict[str, int], watts: float) -> None:
    """Prevents microvolts times microamperes from being taken for microwatts, and negative watts."""
    put(tmp_path / "power_supply" / "BAT0", type="Battery", status="Discharging", **files)
    meter, _ = find(tmp_path)
    assert isinstance(meter, Sensor)
    assert meter._watts() == pytest.approx(watts)
    assert "whole device" in meter.covers


def test_a_sensor_that_stands_still_is_refused() -> None:
    """Prevents the mean of one reading that is a second old."""
    with pytest.raises(BenchError, match="new reading"):
        Sensor("a sensor", "a board", lambda: 5.0, 0.05).measure(lambda: time.sleep(0.1))


def test_a_sensor_is_sampled_while_work_goes_on() -> None:
    """Prevents power that is read once at the end, when the work is over."""
    readings = itertools.cycle([4.0, 6.0])
    start = time.perf_counter()
    joules = Sensor("a sensor", "a board", lambda: next(readings), 0.05).measure(lambda: time.sleep(0.3))
    assert 4.0 * 0.3 < joules < 6.0 * (time.perf_counter() - start)


def test_idle_energy_is_taken_off() -> None:
    """Prevents gross energy under the name of net: 3 W idle, 5 W at work."""

    class Made:
        name, covers, seconds = "made up", "nothing", 0.05

        def __init__(self) -> None:
            self.watts = iter((3.0, 5.0))

        def measure(self, work: object) -> float:
            start = time.perf_counter()
            work()  # type: ignore[operator]
            return next(self.watts) * (time.perf_counter() - start)

    def answer() -> int:
        time.sleep(0.01)
        return 2

    found = measure_energy(Made(), answer)
    assert found.texts >= 2
    assert found.idle_watts == pytest.approx(3.0, rel=0.1)
    assert found.joules_per_text_above_idle / found.joules_per_text == pytest.approx(0.4, abs=0.1)
