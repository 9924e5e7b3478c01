"""`hrkd run`: the stages in order. Each one is kept when its inputs are unchanged, and written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrkd.artifact import folder_hash, hash_of, read_json, write_json
from hrkd.bundle import MANIFEST, open_bundle
from hrkd.distributed import is_main
from hrkd.errors import ArtifactError
from hrkd.model_folder import is_per_domain
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd_bench.machine.environment import describe_environment
from hrkd_cli.bench_progress import bench_progress
from hrkd_cli.bundles import default_output, exact_bundle, make_chosen
from hrkd_cli.measure import show, write_report
from hrkd_cli.output import Output
from hrkd_cli.places import here
from hrkd_cli.preflight import check_before_work
from hrkd_cli.training import TrainingOptions, joined, keep_recipe, open_run, watching

INPUTS_HASH = "inputs_hash"
MACHINE = ("cpu", "architecture", "cpu_features", "available_cpus", "versions")
"""What of the environment decides whether numbers are this machine's; the rest changes from minute to minute."""


@dataclass(frozen=True, slots=True)
class Bundles:
    """The bundles of a run.

    Attributes:
        student: What is shipped.
        exact: The student unquantised: what quantising is compared with; the shipped one where that is in float.
        teacher: The teacher unquantised; None where it is one model per domain, which is no single graph.
    """

    student: Path
    exact: Path
    teacher: Path | None

    def before(self, run: RunFolder) -> list[Path]:
        """Return what the shipped one was made from, first things first."""
        exported = [] if self.teacher is None else [self.teacher]
        exact = [] if self.exact == self.student else [self.exact]
        return [run.teacher, *exported, run.student, *exact]


def run_recipe(recipe: Recipe, runs_dir: Path, output: Output, options: TrainingOptions) -> None:
    """Run all stages and print the table and the path of the report.

    Several processes of a launcher train together; then the main one alone exports and measures.

    Args:
        recipe: What to do.
        runs_dir: The run folder is ``runs_dir/NAME``.
        output: Receives progress and the result.
        options: How to train.
    """
    resume, overwrite = options.resume, options.overwrite
    with joined(output) as spoken:
        finishes = is_main()
        if finishes:
            check_before_work(recipe, RunFolder(runs_dir / recipe.name), output, overwrite=overwrite)
        run = open_run(runs_dir, recipe)
        with watching(recipe, run, spoken, options.trackers) as observer:
            train_teacher(recipe, run, observer=observer, resume=resume, overwrite=overwrite)
            distill(recipe, run, observer=observer, resume=resume, overwrite=overwrite)
        keep_recipe(runs_dir, recipe)
    if not finishes:
        return
    with run.locked():
        bundles = export_stage(recipe, run, output)
        document = bench_stage(recipe, run, bundles, output)
        write_report(document, run.report, run.root)
    show(document, output, run.bench, run.report)


def export_stage(recipe: Recipe, run: RunFolder, output: Output) -> Bundles:
    """Export the student as the recipe says, and student and teacher unquantised; stale bundles are replaced."""
    student = default_output(run.student, recipe.export)
    make_chosen(run.student, student, recipe.export, output, recipe=recipe, overwrite=True)
    exact = student if recipe.export.quantize is None else exact_bundle(run.student, output, recipe=recipe)
    if is_per_domain(run.teacher):
        output.note(f"{run.teacher}: not exported, it is one classifier per domain and not one graph")
        return Bundles(student, exact, None)
    return Bundles(student, exact, exact_bundle(run.teacher, output, recipe=recipe))


def bench_stage(recipe: Recipe, run: RunFolder, bundles: Bundles, output: Output) -> dict[str, Any]:
    """Measure the student's bundle against all that it was made from, unless this was already measured."""
    wanted = _bench_inputs(recipe, run, bundles)
    existing = _measured_before(run.bench, wanted, output)
    if existing is not None:
        output.note("bench: kept, its inputs are unchanged")
        return existing
    with bench_progress(output) as progress:
        document = here([bundles.student], bundles.before(run), recipe.bench, progress)
    document[INPUTS_HASH] = wanted
    write_json(run.bench, document)
    return document


def _bench_inputs(recipe: Recipe, run: RunFolder, bundles: Bundles) -> str:
    """Hash what was measured, how, and on which machine."""
    paths = [bundles.student, *bundles.before(run)]
    environment = describe_environment().model_dump(mode="json")
    return hash_of(
        {
            "measured": [_content_hash(path) for path in paths],
            "config": recipe.bench.model_dump(mode="json"),
            "machine": {key: environment[key] for key in MACHINE},
        }
    )


def _content_hash(path: Path) -> str:
    """Return what identifies a bundle or a model folder."""
    return open_bundle(path).bundle_hash if (path / MANIFEST).is_file() else folder_hash(path)


def _measured_before(path: Path, wanted: str, output: Output) -> dict[str, Any] | None:
    """Return the document of these inputs, unless a noisy minute made its times worthless."""
    try:
        document = read_json(path)
    except ArtifactError:
        return None
    if not isinstance(document, dict) or document.get(INPUTS_HASH) != wanted:
        return None
    if not all(result["valid"] for result in document["results"]):
        output.note("bench: measured again, because the times were disturbed (INVALID)")
        return None
    return document
