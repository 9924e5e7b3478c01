"""Whether the processor is a program: answers are then the same, times say nothing about any device."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
PROCESSES = Path("/proc")
SYSCTL = Path("/usr/sbin/sysctl")
_SYSCTL_SECONDS = 10.0
_OF_ARM = ("CPU implementer", "CPU architecture")
_OF_X86 = ("vendor_id", "cpu family")


def find_emulation(
    cpuinfo: Path = CPUINFO,
    processes: Path = PROCESSES,
    machine: str | None = None,
    parent: int | None = None,
    *,
    system: str | None = None,
    sysctl: Path = SYSCTL,
) -> str | None:
    """Return what gives an emulator away, None where nothing does.

    qemu-user hides its program from the process itself, but not from the process's children, and older versions hand
    the real machine's `cpuinfo` through. Rosetta, which runs programs for Intel on Apple's own processors, says so.

    Args:
        cpuinfo: Replaced in tests.
        processes: Likewise.
        machine: Architecture that the system claims.
        parent: A process that would be emulated as well.
        system: As the kernel names it.
        sysctl: Program of macOS that knows about the process that starts it.
    """
    if (platform.system() if system is None else system) == "Darwin" and _is_translated(sysctl):
        return "translated by Rosetta"
    machine = platform.machine() if machine is None else machine
    keys = {line.partition(":")[0].strip() for line in _read(cpuinfo).splitlines()}
    foreign = _OF_X86 if machine.startswith(("aarch64", "arm")) else _OF_ARM
    if any(key in keys for key in foreign):
        return f"{machine} on a processor of another kind, as {cpuinfo} says"
    parent = os.getppid() if parent is None else parent
    try:
        program = (processes / str(parent) / "exe").readlink().name
    except OSError:
        return None
    return f"run by {program}" if program.startswith("qemu-") else None


def _is_translated(sysctl: Path) -> bool:
    command = [str(sysctl), "-n", "sysctl.proc_translated"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, no shell
            command, capture_output=True, text=True, check=False, timeout=_SYSCTL_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "1"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
