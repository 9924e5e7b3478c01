"""`hrkd distill`: HRKD distillation of a student from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import RUNS_DIR, DryRun, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir, Track

EXAMPLES = """\b
Examples:
  hrkd distill demo
  hrkd distill my.yaml --teacher runs/other/teacher --set student.layers=4
  hrkd distill my.yaml --dry-run
  WANDB_MODE=offline hrkd distill my.yaml --track wandb
"""


def command(
    recipe: RecipeArgument,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="FOLDER", help="Teacher to imitate; the run's own by default.")
    ] = None,
    overrides: Overrides = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Resume = True,
    overwrite: Overwrite = False,
    track: Track = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Distil the student from its teacher.

    It becomes RUNS_DIR/NAME/student. Runs on the GPU when there is one.
    """
    from functools import partial

    from hrkd_cli.extras import require, require_trackers
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd distill`", "train")
    require_trackers(track or ())
    from hrkd.training.dry_run import dry_run_student
    from hrkd_cli.dry_run import show_dry_run
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.training import TrainingOptions, run_distillation

    loaded = open_recipe(recipe, overrides)
    if dry_run:
        show_dry_run(
            loaded, runs_dir, output, partial(dry_run_student, teacher=teacher, resume=resume, overwrite=overwrite)
        )
    else:
        options = TrainingOptions(resume, overwrite, tuple(track or ()))
        run_distillation(loaded, runs_dir, output, options, teacher=teacher)
