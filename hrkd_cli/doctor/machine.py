"""Processor, what of it is granted, memory, and disk."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from hrkd.errors import HrkdError
from hrkd_bench.machine.cgroup import read_limits
from hrkd_bench.machine.cpus import available_cpus
from hrkd_bench.machine.processor import read_processor
from hrkd_cli.doctor.finding import Finding

_LITTLE_DISK = 5e9
"""A demo run with its environment takes about this much."""
_WITHOUT_WHEELS = ("armv6l", "armv7l", "i386", "i686")


def findings() -> Iterator[Finding]:
    """Yield what the machine grants."""
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield _architecture(platform.machine().lower())
    yield _target()
    yield _cpus()
    yield _memory()
    yield _disk(Path.cwd())


def _architecture(machine: str) -> Finding:
    if machine in _WITHOUT_WHEELS:
        hint = "install a 64-bit operating system: onnxruntime has no package for this one"
        return Finding("architecture", "problem", f"{machine} is 32-bit", hint)
    return Finding("architecture", "ok", f"{platform.system()} {machine}")


def _target() -> Finding:
    from hrkd_export.target import AUTO, resolve_target

    processor = read_processor()
    try:
        target = resolve_target(AUTO)
    except HrkdError as error:
        return Finding("processor", "note", f"{processor.model}: {error.message}", error.hint)
    return Finding("processor", "ok", f"{processor.model}; bundles are made for `{target.name}`: {target.what}")


def _cpus() -> Finding:
    granted, quota, host = available_cpus(), read_limits().cpus, os.cpu_count() or 1
    text = f"{granted} of {host} may be used"
    if quota is None:
        return Finding("cpus", "ok", text)
    hint = "a quota stops all threads when it is used up: give models no more threads than whole CPUs"
    return Finding("cpus", "note", f"{text}; a control group grants {quota:g} CPUs of time", hint)


def _memory() -> Finding:
    limit = read_limits().memory_bytes
    if limit is not None:
        return Finding("memory", "note", f"a control group grants {limit / 1e9:.1f} GB")
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "note", "this system does not say how much there is")
    return Finding("memory", "ok", f"{total / 1e9:.1f} GB")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", "problem", f"{folder} cannot be written to", "change to a folder of yours")
    if free < _LITTLE_DISK:
        return Finding("disk", "note", text, f"training needs up to {_LITTLE_DISK / 1e9:.0f} GB")
    return Finding("disk", "ok", text)
