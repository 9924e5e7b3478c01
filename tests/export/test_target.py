"""The target is read from the processor, and the careful choice is made where it cannot be known."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkd.errors import ExportError
from hrkd.recipe import Target
from hrkd_export.target import PRESETS, detect_target, read_cpu_flags, resolve_target


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2", "fma"}, Target.AVX2),
        ("x86_64", {"avx2", "avx512f", "avx512bw"}, Target.AVX512),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, Target.AVX512_VNNI),
        ("x86_64", {"avx2", "avx_vnni"}, Target.AVX512_VNNI),
        ("AMD64", set(), Target.AVX2),
        ("x86_64", {"sse4_1"}, Target.AVX2),
        ("aarch64", {"asimd", "asimddp"}, Target.ARM64),
        ("aarch64", {"asimd"}, Target.ARM64),
        ("arm64", set(), Target.ARM64),
    ],
)
def test_processor_decides_the_target(machine: str, flags: set[str], expected: Target) -> None:
    """Prevents full-range weights on a core whose sums saturate."""
    assert detect_target(machine, flags) is expected


@pytest.mark.parametrize("machine", ["armv7l", "riscv64", "ppc64le", ""])
def test_other_processors_are_refused(machine: str) -> None:
    """Prevents a preset that was never right for this processor from being guessed."""
    with pytest.raises(ExportError, match=f"`{machine}`") as caught:
        detect_target(machine, set())
    assert "--target" in str(caught.value)


def test_flags_of_x86_and_arm_are_read(tmp_path: Path) -> None:
    """Prevents Arm's other spelling, or a missing file, from looking like a processor without features."""
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text(
        "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\nflags\t: fpu\n"
    )
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n")
    assert read_cpu_flags(x86) == {"fpu", "avx2", "avx512_vnni"}
    assert read_cpu_flags(arm) == {"fp", "asimd", "asimddp"}
    assert read_cpu_flags(tmp_path / "missing") == frozenset()


def test_named_target_is_kept_and_auto_is_resolved() -> None:
    """Prevents `auto` from reaching a manifest, where it says nothing."""
    assert resolve_target(Target.ARM64) is Target.ARM64
    assert resolve_target(Target.AUTO) in PRESETS
    assert set(PRESETS) == set(Target) - {Target.AUTO}
