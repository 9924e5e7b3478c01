"""Which instruction set int8 weights are made for, and how that decides their range.

x86 cores without VNNI multiply unsigned by signed bytes with an instruction (VPMADDUBSW) whose 16-bit sums saturate,
which silently corrupts logits; weights of 7 bits cannot reach the limit. Cores with VNNI and Arm cores accumulate in
32 bits and take the full range.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hrkd.errors import ExportError
from hrkd.recipe import Target

X86_MACHINES = frozenset({"x86_64", "amd64", "i386", "i686"})
ARM64_MACHINES = frozenset({"aarch64", "arm64"})
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni"})


@dataclass(frozen=True, slots=True)
class Preset:
    """How int8 weights are made for one target; activations are always unsigned 8-bit, ranged at run time.

    Attributes:
        reduce_range: Whether weights use 7 bits instead of 8.
        per_channel: Whether each output channel of a weight matrix has a scale of its own.
    """

    reduce_range: bool
    per_channel: bool = True


PRESETS: Mapping[Target, Preset] = MappingProxyType(
    {
        Target.AVX2: Preset(reduce_range=True),
        Target.AVX512: Preset(reduce_range=True),
        Target.AVX512_VNNI: Preset(reduce_range=False),
        Target.ARM64: Preset(reduce_range=False),
    }
)


def resolve_target(target: Target) -> Target:
    """Return ``target``, with ``auto`` replaced by what this machine is."""
    return detect_target(platform.machine(), read_cpu_flags()) if target is Target.AUTO else target


def detect_target(machine: str, flags: Collection[str]) -> Target:
    """Choose the target for a processor.

    Args:
        machine: Machine name as `platform.machine` gives it.
        flags: Processor flags as Linux names them; empty where unknown, which yields the most careful x86 target.

    Raises:
        ExportError: Neither x86 nor 64-bit Arm.
    """
    name = machine.lower()
    if name in ARM64_MACHINES:
        return Target.ARM64
    if name not in X86_MACHINES:
        raise ExportError(
            f"no int8 preset is known for this machine's processor (`{machine}`)",
            hint="name the processor of the device with --target (avx2, avx512, avx512_vnni, arm64)",
        )
    if VNNI_FLAGS & set(flags):
        return Target.AVX512_VNNI
    return Target.AVX512 if "avx512f" in flags else Target.AVX2


def read_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the flags of the first processor; empty where the system has no such file."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()
