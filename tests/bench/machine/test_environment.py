"""The description of the machine that stands in every published document."""

from __future__ import annotations

import getpass
import platform
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from hrkd import __version__
from hrkd_bench.machine import disturbance, processor
from hrkd_bench.machine import facts as machine
from hrkd_bench.machine.disturbance import CpuTicks, Snapshot, compare
from hrkd_bench.machine.environment import Environment, describe_environment
from hrkd_bench.machine.processor import parse_cpuinfo, read_processor


def test_description_is_of_this_machine_and_survives_json() -> None:
    """Prevents numbers whose machine nobody can tell any more."""
    described = describe_environment()
    assert described.python == platform.python_version()
    assert described.architecture == platform.machine()
    assert 1 <= described.available_cpus <= described.affinity_cpus <= described.logical_cpus
    assert described.memory_bytes > 100_000_000
    assert described.versions["hrkd"] == __version__
    assert described.versions["onnxruntime"] == metadata.version("onnxruntime")
    assert Environment.model_validate_json(described.model_dump_json()) == described


def test_description_names_no_host_and_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a published document from telling whose machine it was."""
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "secret-user")
    monkeypatch.setenv("USER", "secret-user")
    monkeypatch.setenv("HOSTNAME", "secret-host")
    text = describe_environment().model_dump_json()
    assert "secret" not in text
    assert not {"host", "hostname", "node", "user", "serial", "path"} & set(Environment.model_fields)


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a crash on a device, where torch is not installed."""

    def version(name: str) -> str:
        if name != "numpy":
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(machine.metadata, "version", version)
    assert machine.library_versions() == {"hrkd": __version__, "numpy": "1.2.3"}


def test_the_description_needs_no_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a compiled package from being needed on a device for one number that the system says itself."""
    expected = psutil.virtual_memory().total
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert describe_environment().memory_bytes == expected


def test_32_bit_arm() -> None:
    """Prevents a 32-bit system on a 64-bit board from being described as having no vector unit."""
    core = "processor : 0\nFeatures : half thumb vfp edsp neon vfpv3\nCPU implementer : 0x41\nCPU part : 0xd08\n"
    assert parse_cpuinfo(core, "armv7l").features == ("neon",)


def test_without_cpuinfo_the_architecture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a crash where there is no `/proc`, and a machine with 0 CPUs."""
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor, "DEVICE_MODEL", tmp_path / "model")
    found = read_processor()
    assert found.model
    assert found.logical_cpus >= 1
    assert found.features == ()


def test_both_reasons_are_given() -> None:
    """Prevents the second cause from being found only after the first one was removed."""
    assert (
        len(compare(Snapshot(CpuTicks(0, 0), 0, None), Snapshot(CpuTicks(100, 50), 1, None), cpus=1).invalid_reasons)
        == 2
    )


def test_unknown_counters_are_unknown_not_zero() -> None:
    """Prevents "no steal" from being claimed where the system does not say."""
    judged = compare(Snapshot(None, None, None), Snapshot(None, None, None), cpus=1)
    assert (judged.steal_fraction, judged.throttled_periods) == (None, None)
    assert judged.invalid_reasons == judged.notes == ()


def test_snapshot_survives_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a crash where there is no `/proc/stat`."""
    monkeypatch.setattr(disturbance, "STAT", disturbance.STAT / "nothing")
    assert disturbance.take_snapshot().ticks is None
