"""The processor's name and the instruction sets that decide int8 speed, from ``/proc/cpuinfo``, on x86 and ARM."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
DEVICE_MODEL = Path("/proc/device-tree/model")

_X86_FEATURES = frozenset({"sse4_2", "fma", "f16c"})
_X86_PREFIXES = ("avx", "amx")
_ARM_FEATURES = frozenset({"neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme", "sme2"})

# ARM kernels print numbers instead of a name: (implementer, part).
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}


@dataclass(frozen=True, slots=True)
class Processor:
    """What a reader needs to judge a latency.

    Attributes:
        model: Name of the processor, and of the board where one is known.
        architecture: Such as ``x86_64`` or ``aarch64``.
        logical_cpus: Number of CPUs of the machine, whoever may use them.
        features: Instruction sets that matter to a matrix product, sorted.
    """

    model: str
    architecture: str
    logical_cpus: int
    features: tuple[str, ...]


def read_processor() -> Processor:
    """Describe this machine's processor; unknown parts are named after the architecture."""
    machine = platform.machine()
    processor = parse_cpuinfo(_read(CPUINFO), machine, _read(DEVICE_MODEL))
    if processor.logical_cpus:
        return processor
    return Processor(platform.processor() or machine, machine, os.cpu_count() or 1, ())


def parse_cpuinfo(text: str, machine: str, device_model: str = "") -> Processor:
    """Read the text of ``/proc/cpuinfo``.

    Args:
        text: The file's content.
        machine: Architecture as ``uname -m`` names it.
        device_model: Content of ``/proc/device-tree/model``, which ends with a NUL byte.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), []).append(value.strip())
    board = device_model.strip("\0 \n") or next(iter(fields.get("Model", [])), "")
    cores = _arm_cores(fields) or next(iter(fields.get("model name", [])), "")
    name = f"{board} ({cores})" if board and cores else board or cores or machine
    return Processor(name, machine, len(fields.get("processor", [])), _features(fields))


def _arm_cores(fields: dict[str, list[str]]) -> str:
    """Name the cores of an ARM chip, each kind once: big.LITTLE chips have several."""
    pairs = zip(fields.get("CPU implementer", []), fields.get("CPU part", []), strict=False)
    names = [_ARM_CORES.get((maker, part), f"ARM core {maker}/{part}") for maker, part in pairs]
    return " + ".join(dict.fromkeys(names))


def _features(fields: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the features that every core has: a thread may run on any of them."""
    x86 = [set(line.split()) for line in fields.get("flags", [])]
    arm = [set(line.split()) for line in fields.get("Features", [])]
    if x86:
        shared = set.intersection(*x86)
        return tuple(sorted(flag for flag in shared if flag in _X86_FEATURES or flag.startswith(_X86_PREFIXES)))
    return tuple(sorted(set.intersection(*arm) & _ARM_FEATURES)) if arm else ()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
