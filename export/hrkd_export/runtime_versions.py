"""What an older onnxruntime still reads: operator sets, and operators of its own."""

from __future__ import annotations

from collections.abc import Mapping

from hrkd.errors import ExportError
from hrkd.recipe import Quantization

Version = tuple[int, int]

NEWEST_OPSET: Mapping[Version, int] = {
    (1, 10): 15,
    (1, 11): 16,
    (1, 12): 17,
    (1, 14): 18,
    (1, 15): 19,
    (1, 17): 20,
    (1, 18): 21,
}
"""First version of onnxruntime that reads an operator set; from its table of compatibility."""

FIRST_RUNTIME: Mapping[Quantization, Version] = {
    Quantization.INT8_WEIGHTS: (1, 22),
    Quantization.INT4_WEIGHTS: (1, 23),
    Quantization.INT8_INT4_TABLES: (1, 23),
}
"""First version with products of 8-bit blocks, and tables of 4-bit blocks; found by loading bundles (docs/log.md)."""


def newest_opset(wanted: int, runtime_version: str | None) -> int:
    """Return ``wanted``, or what the given onnxruntime reads where that is less.

    Args:
        wanted: Of the recipe.
        runtime_version: ``1.16`` and the like; None for any.

    Raises:
        ExportError: The version is older than any that is known to read a bundle.
    """
    if runtime_version is None:
        return wanted
    readable = [opset for first, opset in NEWEST_OPSET.items() if first <= _parse(runtime_version)]
    if not readable:
        raise ExportError(
            f"onnxruntime {runtime_version} is too old to read a bundle", hint="`--runtime-version` starts at 1.10"
        )
    return min(wanted, max(readable))


def check_operators(quantization: Quantization | None, runtime_version: str | None) -> None:
    """Refuse a quantisation whose operators the given onnxruntime lacks.

    Raises:
        ExportError: It lacks them.
    """
    first = None if quantization is None else FIRST_RUNTIME.get(quantization)
    if first is None or runtime_version is None or _parse(runtime_version) >= first:
        return
    major, minor = first
    raise ExportError(
        f"onnxruntime {runtime_version} lacks the operators of `{quantization}`, which {major}.{minor} brought",
        hint="quantise with `int8`, or upgrade onnxruntime on the device",
    )


def _parse(version: str) -> Version:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
