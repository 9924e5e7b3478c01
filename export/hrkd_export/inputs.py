"""What decides an export's result, as one hash: a pipeline that finds it in a manifest need not export again."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Literal

import hrkd
from hrkd.artifact import folder_hash, hash_of
from hrkd.recipe import ExportConfig
from hrkd_export.target import resolve_target

Role = Literal["teacher", "student"]

DISTRIBUTIONS = {
    "torch": ("torch",),
    "transformers": ("transformers",),
    "tokenizers": ("tokenizers",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "optimum": ("optimum",),
    "optimum-onnx": ("optimum-onnx",),
    "openvino": ("openvino",),
    "nncf": ("nncf",),
}
"""Libraries that shape the result, each with the distributions that may provide it."""


def inputs_hash(checkpoint: Path, config: ExportConfig, role: Role) -> str:
    """Return one hash over everything that decides the bundle: weights, options, role and library versions.

    It stands in a bundle's manifest as ``parents["inputs"]``. ``target: auto`` counts as the target that it stands
    for on this machine.
    """
    options = config.model_dump(mode="json")
    target = resolve_target(config.target, config.targets) if config.quantize else None
    options["target"] = target.model_dump(mode="json") if target else None
    del options["targets"]  # a path; what it says of the target is in the target
    return hash_of(
        {"checkpoint": folder_hash(checkpoint), "options": options, "role": role, "versions": library_versions()}
    )


def library_versions() -> dict[str, str]:
    """Return the version of each installed library that shapes the result."""
    versions = {"hrkd": hrkd.__version__}
    for name, distributions in DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                versions[name] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            break
    return versions
