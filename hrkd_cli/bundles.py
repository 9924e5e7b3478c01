"""Making bundles from model folders, and keeping those whose inputs are unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrkd.artifact import read_stage
from hrkd.bundle import Manifest, open_bundle
from hrkd.bundle_card import summary_lines
from hrkd.errors import ArtifactError
from hrkd.recipe import ExportConfig, Quantization, Recipe
from hrkd.shape import to_json
from hrkd_cli.output import Output
from hrkd_cli.recipes import export_config, run_of
from hrkd_export import export_bundle, inputs_hash
from hrkd_export.inputs import Role

TEACHER = "teacher"
COMPARISON = "comparison"
"""Folder beside the bundles, of those that nobody asked for but that others are compared with."""


def role_of(checkpoint: Path) -> Role:
    """Return what the stage that made a model folder calls it; a student when no stage did."""
    record = read_stage(checkpoint)
    return "teacher" if record is not None and record.stage == TEACHER else "student"


def default_output(checkpoint: Path, config: ExportConfig) -> Path:
    """Return the bundle folder of a model folder inside its run: ``bundles/int8``, ``bundles/teacher-fp32``, ..."""
    way = str(config.quantize or "fp32")
    name = f"teacher-{way}" if role_of(checkpoint) == TEACHER else way
    run = checkpoint.parent if checkpoint.name not in ("", "..") else run_of(checkpoint)
    return run / "bundles" / name


def current_bundle(bundle: Path, checkpoint: Path, config: ExportConfig) -> Manifest | None:
    """Return the manifest of an undamaged bundle that was made from exactly these inputs, or None."""
    try:
        manifest = open_bundle(bundle)
    except ArtifactError:
        return None
    wanted = inputs_hash(checkpoint, config, role_of(checkpoint))
    return manifest if manifest.parents.get("inputs") == wanted else None


def make_bundle(
    checkpoint: Path,
    bundle: Path,
    config: ExportConfig,
    output: Output,
    *,
    recipe: Recipe | None,
    overwrite: bool,
) -> Manifest:
    """Export a model folder, or keep the bundle that is already there from the same inputs.

    Raises:
        ArtifactError: ``bundle`` holds something else and ``overwrite`` is false.
    """
    existing = current_bundle(bundle, checkpoint, config)
    if existing is not None:
        output.note(f"{bundle}: kept, its inputs are unchanged")
        return existing
    role = role_of(checkpoint)
    return export_bundle(checkpoint, bundle, config, role=role, recipe=recipe, overwrite=overwrite, message=output.note)


def make_chosen(
    checkpoint: Path, bundle: Path, config: ExportConfig, output: Output, *, recipe: Recipe | None, overwrite: bool
) -> tuple[Manifest, list[dict[str, Any]]]:
    """Make a bundle, of the best way of quantising where the way is ``auto``; returns the candidates' rows too."""
    if config.quantize is not Quantization.AUTO:
        return make_bundle(checkpoint, bundle, config, output, recipe=recipe, overwrite=overwrite), []
    from hrkd_cli.candidates import make_best

    return make_best(checkpoint, bundle, config, output, recipe=recipe, overwrite=overwrite)


def export_and_show(
    checkpoint: Path, bundle: Path, config: ExportConfig, output: Output, *, recipe: Recipe | None, overwrite: bool
) -> None:
    """Make a bundle and print what it is."""
    manifest, rows = make_chosen(checkpoint, bundle, config, output, recipe=recipe, overwrite=overwrite)
    document = {"bundle": str(bundle), **to_json(manifest)}
    if not rows:
        output.result(document, manifest_lines(bundle, manifest))
        return
    from hrkd_cli.candidates import candidate_table

    output.result({**document, "candidates": rows}, candidate_table(rows), manifest_lines(bundle, manifest))


def exact_bundle(checkpoint: Path, output: Output, *, recipe: Recipe | None) -> Path:
    """Return a model's unquantised bundle, for comparisons on the engine of the shipped one.

    One that `hrkd export` made from exactly these inputs serves. Otherwise it is made in a folder for nothing else,
    where a stale one may be replaced: under `hrkd export`'s name may stand what the user made with other options.
    """
    exact = export_config(recipe, quantize=None)
    exported = default_output(checkpoint, exact)
    if current_bundle(exported, checkpoint, exact) is not None:
        return exported
    bundle = exported.parent / COMPARISON / f"{checkpoint.resolve().name}-fp32"
    make_bundle(checkpoint, bundle, exact, output, recipe=recipe, overwrite=True)
    return bundle


def manifest_lines(bundle: Path, manifest: Manifest) -> str:
    """Say in a few lines what a bundle is."""
    return "\n".join([f"bundle: {bundle}", *(f"  {line}" for line in summary_lines(manifest))])
