"""What a run folder knows beyond its numbers, for the report page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrkd.artifact import read_json, read_stage
from hrkd.bundle import MANIFEST
from hrkd.errors import ArtifactError, HrkdError
from hrkd.model_folder import GRAPH
from hrkd.recipe_file import load_recipe
from hrkd.run_folder import RunFolder
from hrkd_bench.document.graph import read_graph
from hrkd_bench.document.schema import BenchDocument
from hrkd_bench.plan.truth import PlanCheck, prediction_against_truth


def run_context(root: Path) -> dict[str, Any]:
    """Return title, recipe, training curve, graph and hashes of a run; nothing for a folder that is no run."""
    run = RunFolder(root)
    if not run.recipe.is_file():
        return {}
    student = read_stage(run.student)
    history = student.details.get("history", []) if student else []
    return {
        "title": f"hrkd run {root.resolve().name}",
        "recipe": run.recipe.read_text(encoding="utf-8"),
        "training_curve": [{"step": step, "average": average} for step, average in history],
        "provenance": _hashes(run),
        **_graph(run.student / GRAPH),
    }


def plan_check(root: Path, document: BenchDocument) -> PlanCheck | None:
    """Return what was planned against what was measured; None where a run's recipe has no plan, or cannot be read."""
    try:
        plan = load_recipe(RunFolder(root).recipe).plan
    except HrkdError:
        return None
    return None if plan is None else prediction_against_truth(plan, document)


def _graph(path: Path) -> dict[str, Any]:
    """Return what the graph said over training; a damaged file costs its section, not the report."""
    if not path.exists():
        return {}
    try:
        return {"graph": read_graph(read_json(path))}
    except ArtifactError as error:
        return {"graph_problem": "; ".join(filter(None, (error.message, error.hint)))}


def _hashes(run: RunFolder) -> dict[str, str]:
    """Return the hash of each stage's output, and of each bundle's graph."""
    records = {"teacher": read_stage(run.teacher), "student": read_stage(run.student)}
    hashes = {name: record.output_hash for name, record in records.items() if record}
    for manifest in sorted(run.bundles.glob(f"*/{MANIFEST}")):
        try:
            hashes[f"bundle {manifest.parent.name}"] = read_json(manifest)["files"]["model.onnx"]["sha256"]
        except (ArtifactError, KeyError, TypeError):
            hashes[f"bundle {manifest.parent.name}"] = "damaged"
    return hashes
