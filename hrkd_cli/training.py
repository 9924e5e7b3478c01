"""The two training stages, as `hrkd teacher`, `hrkd distill` and `hrkd run` call them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hrkd.artifact import StageRecord
from hrkd.distributed import distributed, is_main
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.observer import Observer, Observers
from hrkd_cli.options import Tracker
from hrkd_cli.output import Output
from hrkd_cli.progress import training_observer
from hrkd_cli.tables import stage_table
from hrkd_cli.trackers import tracked


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How a command trains, apart from the recipe.

    Attributes:
        resume: Whether an unfinished training goes on from its checkpoint.
        overwrite: Whether a teacher or student made from other inputs is replaced.
        trackers: Services that get the curves.
    """

    resume: bool = True
    overwrite: bool = False
    trackers: Sequence[Tracker] = ()


@contextmanager
def watching(recipe: Recipe, run: RunFolder, output: Output, trackers: Sequence[Tracker]) -> Iterator[Observer]:
    """Yield the observer of a training: what stderr shows, and the trackers that were asked for."""
    with training_observer(output) as shown:
        if trackers and is_main():
            with tracked(trackers, recipe, run, shown) as curves:
                yield Observers([shown, curves])
        else:
            yield shown


@contextmanager
def joined(output: Output) -> Iterator[Output]:
    """Join the other processes of a launcher, if there is one, and yield the output: only the main one speaks."""
    with distributed():
        yield output if is_main() else replace(output, quiet=True)


def open_run(runs_dir: Path, recipe: Recipe) -> RunFolder:
    """Return the run folder; an existing recipe.yaml is kept until a stage of the new recipe is finished.

    A command that is refused must not leave behind a recipe that the run's results were not made from.
    """
    run = RunFolder(runs_dir / recipe.name)
    return RunFolder.create(runs_dir, recipe) if is_main() and not run.recipe.exists() else run


def keep_recipe(runs_dir: Path, recipe: Recipe) -> None:
    """Write the recipe beside the results that were now made from it."""
    if is_main():
        RunFolder.create(runs_dir, recipe)


def run_teacher(recipe: Recipe, runs_dir: Path, output: Output, options: TrainingOptions) -> StageRecord:
    """Make a run's teacher and print its scores."""
    with joined(output) as spoken:
        run = open_run(runs_dir, recipe)
        with watching(recipe, run, spoken, options.trackers) as observer:
            record = train_teacher(recipe, run, observer=observer, resume=options.resume, overwrite=options.overwrite)
        keep_recipe(runs_dir, recipe)
        if is_main():
            output.result(asdict(record), stage_table(record), f"teacher: {run.teacher}")
    return record


def run_distillation(
    recipe: Recipe, runs_dir: Path, output: Output, options: TrainingOptions, *, teacher: Path | None
) -> StageRecord:
    """Make a run's student and print its scores."""
    with joined(output) as spoken:
        run = open_run(runs_dir, recipe)
        with watching(recipe, run, spoken, options.trackers) as observer:
            record = distill(
                recipe, run, teacher=teacher, observer=observer, resume=options.resume, overwrite=options.overwrite
            )
        keep_recipe(runs_dir, recipe)
        if is_main():
            output.result(asdict(record), stage_table(record), f"student: {run.student}")
    return record
