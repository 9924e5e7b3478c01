"""The two training stages, as `hrkd teacher`, `hrkd distill` and `hrkd run` call them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hrkd.artifact import StageRecord
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd_cli.output import Output
from hrkd_cli.progress import training_observer
from hrkd_cli.tables import stage_table


def open_run(runs_dir: Path, recipe: Recipe) -> RunFolder:
    """Return the run folder; an existing recipe.yaml is kept until a stage of the new recipe is finished.

    A command that is refused must not leave behind a recipe that the run's results were not made from.
    """
    run = RunFolder(runs_dir / recipe.name)
    return run if run.recipe.exists() else RunFolder.create(runs_dir, recipe)


def run_teacher(recipe: Recipe, runs_dir: Path, output: Output, *, resume: bool, overwrite: bool) -> StageRecord:
    """Make a run's teacher and print its scores."""
    run = open_run(runs_dir, recipe)
    with training_observer(output) as observer:
        record = train_teacher(recipe, run, observer=observer, resume=resume, overwrite=overwrite)
    RunFolder.create(runs_dir, recipe)
    output.result(asdict(record), stage_table(record), f"teacher: {run.teacher}")
    return record


def run_distillation(
    recipe: Recipe, runs_dir: Path, output: Output, *, teacher: Path | None, resume: bool, overwrite: bool
) -> StageRecord:
    """Make a run's student and print its scores."""
    run = open_run(runs_dir, recipe)
    with training_observer(output) as observer:
        record = distill(recipe, run, teacher=teacher, observer=observer, resume=resume, overwrite=overwrite)
    RunFolder.create(runs_dir, recipe)
    output.result(asdict(record), stage_table(record), f"student: {run.student}")
    return record
