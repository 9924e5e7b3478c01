"""Which ONNX operator set an older onnxruntime still reads."""

from __future__ import annotations

from hrkd.errors import ExportError

NEWEST_OPSET = {(1, 10): 15, (1, 11): 16, (1, 12): 17, (1, 14): 18, (1, 15): 19, (1, 17): 20, (1, 18): 21}
"""First version of onnxruntime that reads an operator set; from its table of compatibility."""


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
    version = tuple(int(part) for part in runtime_version.split(".")[:2])
    readable = [opset for first, opset in NEWEST_OPSET.items() if first <= version]
    if not readable:
        raise ExportError(
            f"onnxruntime {runtime_version} is too old to read a bundle", hint="`--runtime-version` starts at 1.10"
        )
    return min(wanted, max(readable))
