"""The machine on which numbers were measured, so that a reader can judge what they say about another one."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hrkd import __version__
from hrkd.errors import MissingExtraError
from hrkd_bench.cgroup import read_limits
from hrkd_bench.cpus import affinity, available_cpus
from hrkd_bench.processor import read_processor

_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "torch", "transformers")


class Environment(BaseModel):
    """What was read from the machine when the measurement began; None where the system does not say.

    Attributes:
        affinity_cpus: CPUs that the process may run on.
        cpu_quota: CPU time per wall-clock time that the control group grants.
        available_cpus: Threads that can run all the time, after affinity and quota.
        frequency_mhz: Clock of CPU 0 at the start.
        load_average: Over one minute, at the start.
    """

    model_config = ConfigDict(frozen=True)

    timestamp: str
    cpu: str
    architecture: str
    cpu_features: list[str]
    logical_cpus: int
    affinity_cpus: int
    cpu_quota: float | None
    available_cpus: int
    memory_bytes: int
    memory_limit_bytes: int | None
    governor: str | None
    frequency_mhz: float | None
    maximum_frequency_mhz: float | None
    load_average: float | None
    operating_system: str
    kernel: str
    python: str
    versions: dict[str, str]


def describe_environment() -> Environment:
    """Read this machine's description. The host's name, user and serial numbers are left out on purpose.

    Raises:
        MissingExtraError: psutil is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError("measuring", "edge") from error
    processor = read_processor()
    limits = read_limits()
    return Environment(
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=processor.model,
        architecture=processor.architecture,
        cpu_features=list(processor.features),
        logical_cpus=processor.logical_cpus,
        affinity_cpus=len(affinity()),
        cpu_quota=limits.cpus,
        available_cpus=available_cpus(),
        memory_bytes=int(psutil.virtual_memory().total),
        memory_limit_bytes=limits.memory_bytes,
        governor=_read(_CPUFREQ / "scaling_governor"),
        frequency_mhz=_megahertz(_CPUFREQ / "scaling_cur_freq"),
        maximum_frequency_mhz=_megahertz(_CPUFREQ / "cpuinfo_max_freq"),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        operating_system=_operating_system(),
        kernel=platform.release(),
        python=platform.python_version(),
        versions=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that decide speed; reads metadata, imports nothing."""
    versions = {"hrkd": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


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
