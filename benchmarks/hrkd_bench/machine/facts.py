"""What can be read about this machine, as plain values: the standard library alone, so that every device can say it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hrkd import __version__
from hrkd_bench.machine.cgroup import read_limits
from hrkd_bench.machine.cpus import affinity, available_cpus
from hrkd_bench.machine.processor import read_processor

_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "torch", "transformers")


def read_machine() -> dict[str, Any]:
    """Read this machine's description. The host's name, user and serial numbers are left out on purpose.

    Returns:
        The fields of :class:`hrkd_bench.machine.environment.Environment`, which says what they mean.
    """
    processor = read_processor()
    limits = read_limits()
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": processor.model,
        "architecture": processor.architecture,
        "cpu_features": list(processor.features),
        "logical_cpus": processor.logical_cpus,
        "affinity_cpus": len(affinity()),
        "cpu_quota": limits.cpus,
        "available_cpus": available_cpus(),
        "memory_bytes": memory_bytes(),
        "memory_limit_bytes": limits.memory_bytes,
        "governor": _read(_CPUFREQ / "scaling_governor"),
        "frequency_mhz": _megahertz(_CPUFREQ / "scaling_cur_freq"),
        "maximum_frequency_mhz": _megahertz(_CPUFREQ / "cpuinfo_max_freq"),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "operating_system": _operating_system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that decide speed; reads metadata, imports nothing."""
    versions = {"hrkd": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def memory_bytes() -> int:
    """Return the machine's memory; psutil where the system does not answer itself (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        import psutil

        return int(psutil.virtual_memory().total)


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _megahertz(path: Path) -> float | None:
    text = _read(path)
    return int(text) / 1000 if text is not None and text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
