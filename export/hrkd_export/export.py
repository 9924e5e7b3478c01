"""`export_bundle`: a trained model folder in, a verified bundle out.

This module and its package import no heavy library before they are needed, so that a missing one can be named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hrkd.artifact import StageRecord, new_folder, read_stage, verify_files
from hrkd.bundle import MANIFEST, Manifest
from hrkd.errors import ArtifactError, CheckpointError, MissingExtraError
from hrkd.recipe import ExportConfig, Recipe
from hrkd_export.inputs import Role

LIBRARIES = frozenset({"torch", "transformers", "tokenizers", "safetensors", "onnx", "onnxruntime"})


def export_bundle(
    checkpoint: Path,
    output: Path,
    config: ExportConfig,
    *,
    role: Role = "student",
    recipe: Recipe | None = None,
    overwrite: bool = False,
    message: Callable[[str], None] | None = None,
) -> Manifest:
    """Export a model folder to ONNX, verify it, quantise it, and write the bundle.

    The bundle appears complete or not at all. The same checkpoint, options and libraries give the same files.

    Args:
        checkpoint: Model folder of a teacher or student, with its `eval.jsonl`.
        output: Bundle folder to make.
        config: Precision, target and limits.
        role: What the bundle is called in comparisons.
        recipe: The run's recipe; leads to training and validation texts, and its hash goes into the manifest.
        overwrite: Whether an existing bundle at ``output`` is replaced. Anything else there is never replaced.
        message: Receives one line per step.

    Raises:
        ArtifactError: ``output`` exists, or would destroy something that is no bundle.
        CheckpointError: ``checkpoint`` is not a complete model folder.
        ExportError: The graph cannot be built, differs from the model, or cannot be quantised.
        MissingExtraError: The libraries for exporting are not installed.
    """
    _check_output(checkpoint, output, overwrite=overwrite)
    record = _check_record(checkpoint)
    with new_folder(output, replace=overwrite) as folder:
        try:
            from hrkd_export.build import Build
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in LIBRARIES:
                raise
            raise MissingExtraError("exporting a model", "export") from error
        return Build(checkpoint, config, role, recipe, message or _silent).write(folder, record=record)


def _check_output(checkpoint: Path, output: Path, *, overwrite: bool) -> None:
    """Refuse an output whose replacement would cost the user anything but an old bundle."""
    inside, outside = output.resolve(), checkpoint.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise ArtifactError(
            f"the bundle `{output}` and the model folder `{checkpoint}` cannot stand inside each other",
            hint="choose another place for the bundle",
        )
    if not output.exists():
        return
    if not overwrite:
        raise ArtifactError(f"`{output}` exists already", hint="choose another name, or pass --overwrite")
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST).is_file()):
        raise ArtifactError(f"`{output}` is not a bundle, so it is not replaced", hint="choose another name")


def _check_record(checkpoint: Path) -> StageRecord | None:
    """Return the record of the stage that made the checkpoint, after comparing its files with it."""
    if not checkpoint.is_dir():
        raise CheckpointError(f"model folder `{checkpoint}` does not exist")
    record = read_stage(checkpoint)
    if record is not None:
        verify_files(checkpoint, record.files)
    return record


def _silent(_text: str) -> None:
    """Receive messages nobody asked for."""
