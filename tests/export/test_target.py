"""The target is read from the processor, the careful choice is made where it cannot be known, and users add rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from hrkd.engines.providers import wanted_providers
from hrkd.errors import ExportError
from hrkd.recipe import Quantization
from hrkd_export.quantizers.registry import way_of
from hrkd_export.session import session_settings
from hrkd_export.target import detect_target, load_targets, read_cpu_flags, resolve_target

TARGETS = load_targets()


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2", "fma"}, "avx2"),
        ("x86_64", {"avx2", "avx512f", "avx512bw"}, "avx512"),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "avx512_vnni"),
        ("x86_64", {"avx2", "avx_vnni"}, "avx512_vnni"),
        ("AMD64", set(), "avx2"),
        ("x86_64", {"sse4_1"}, "avx2"),
        ("aarch64", {"asimd", "asimddp", "i8mm"}, "arm64_i8mm"),
        ("aarch64", {"asimd", "asimddp"}, "arm64_dotprod"),
        ("aarch64", {"asimd"}, "arm64"),
        ("arm64", set(), "arm64"),
    ],
)
def test_processor_decides_the_target(machine: str, flags: set[str], expected: str) -> None:
    """Prevents full-range weights on a core whose sums saturate, and a Pi 5 that is treated as a Pi 4."""
    assert detect_target(machine, flags, TARGETS).name == expected


@pytest.mark.parametrize("machine", ["armv7l", "riscv64", "ppc64le", ""])
def test_other_processors_are_refused(machine: str) -> None:
    """Prevents a row that was never right for this processor from being guessed."""
    with pytest.raises(ExportError, match=f"`{machine}`") as caught:
        detect_target(machine, set(), TARGETS)
    assert "--target" in str(caught.value)
    assert "arm64_dotprod" in str(caught.value)


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
    assert resolve_target("arm64").name == "arm64"
    assert resolve_target("auto").name in TARGETS
    assert "auto" not in TARGETS
    assert "any" not in TARGETS


def test_unknown_name_lists_the_known_ones() -> None:
    """Prevents a misspelt target from ending in a KeyError."""
    with pytest.raises(ExportError, match="`arm64_dotprd` is unknown") as caught:
        resolve_target("arm64_dotprd")
    assert "did you mean `arm64_dotprod`?" in str(caught.value)
    assert "openvino" in str(caught.value)


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_quantisation_of_a_row_can_be_made(target) -> None:
    """Prevents a row that offers what nothing makes, or OpenVINO where it does not run."""
    engines = {way_of(quantization).engine for quantization in target.quantizations}
    assert "openvino" not in engines or not set(target.machines) & {"aarch64", "arm64"}


def test_a_bundle_remembers_its_providers() -> None:
    """Prevents a bundle for a GPU from running on the processor beside it."""
    settings = session_settings("onnxruntime", 128, TARGETS["tensorrt"].providers)
    assert wanted_providers(settings) == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert "providers" not in session_settings("onnxruntime", 128, TARGETS["avx2"].providers)


def test_only_rows_that_name_machines_are_found_by_auto() -> None:
    """Prevents `auto` from choosing a GPU, or OpenVINO, because of the processor beside it."""
    assert {name for name, target in TARGETS.items() if not target.machines} == {"cuda", "tensorrt", "openvino"}
    assert [name for name, target in TARGETS.items() if target.reduce_range] == ["avx512", "avx2"]


def write(folder: Path, text: str) -> Path:
    path = folder / "targets.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_users_add_rows(tmp_path: Path) -> None:
    """Prevents a user's variant from losing what it inherits, or from replacing the original in `auto`."""
    path = write(
        tmp_path,
        "gateway:\n  like: avx2\n  what: our gateway\n  quantizations: [int8]\n"
        "small:\n  like: gateway\n  what: its small sister\n  per_channel: false\n"
        "board:\n  what: a RISC-V board\n  machines: [riscv64]\n  quantizations: [int8]\n",
    )
    gateway, small = resolve_target("gateway", path), resolve_target("small", path)
    assert (gateway.reduce_range, gateway.quantizations) == (True, (Quantization.INT8,))
    assert (small.reduce_range, small.per_channel, small.quantizations) == (True, False, (Quantization.INT8,))
    targets = load_targets(path)
    assert detect_target("riscv64", set(), targets).name == "board"
    assert detect_target("x86_64", {"avx2"}, targets).name == "avx2"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mine: {like: avx3, what: x}", "no target `avx3`"),
        ("mine: {like: avx2, reduce_rnge: true}", "did you mean `reduce_range`"),
        ("mine: {like: avx2, quantizations: [int9]}", "`mine`: `quantizations`"),
        ("mine: {like: avx2, quantizations: [auto]}", "no quantisation of its own"),
        ("mine: {like: avx2, quantizations: []}", "`quantizations`"),
        ("mine: {what: x}", "`quantizations`: Field required"),
        ("mine: {like: avx2, machines: x86_64}", "`machines`"),
        ("avx2: {like: avx512}", "the name `avx2` is taken"),
        ("auto: {like: avx512}", "the name `auto` is taken"),
        ("any: {like: avx512}", "the name `any` is taken"),
        ("My Board: {like: avx512}", "`name`"),
        ("mine: [1]", "no `name: {...}` mapping"),
        ("[]", "no `name: {...}` mapping"),
        ("mine: {like: avx2\n", "not valid YAML"),
        ("mine: {like: avx2}\nmine: {like: arm64}", "stands twice"),
    ],
)
def test_wrong_files_are_refused_with_the_place(tmp_path: Path, text: str, problem: str) -> None:
    """Prevents a misspelt key from being ignored, which would ship 8-bit weights to a core that saturates."""
    with pytest.raises(ExportError) as caught:
        load_targets(write(tmp_path, text))
    assert problem in str(caught.value)
    assert "targets.yaml" in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """Prevents a wrong path from falling back to the built-in table."""
    with pytest.raises(ExportError, match="cannot be read"):
        resolve_target("avx2", tmp_path / "none.yaml")


def test_rows_cannot_be_changed() -> None:
    """Prevents one export from changing what the next one takes for the same target."""
    with pytest.raises(ValidationError, match="frozen"):
        TARGETS["avx2"].reduce_range = False
    with pytest.raises(TypeError):
        TARGETS["mine"] = TARGETS["avx2"]


def test_table_and_registry_load_no_heavy_library() -> None:
    """Prevents a pipeline that only asks what a target is from loading torch and onnx first."""
    code = (
        "import sys, hrkd_export.target, hrkd_export.quantizers.registry\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'optimum', 'nncf') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
