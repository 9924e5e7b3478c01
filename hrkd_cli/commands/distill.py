"""`hrkd distill`: HRKD distillation of a student from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import RUNS_DIR, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir

EXAMPLES = """\b
Examples:
  hrkd distill demo
  hrkd distill my.yaml --teacher runs/other/teacher --set student.layers=4
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Distil the student from its teacher.

    It becomes RUNS_DIR/NAME/student. Runs on the GPU when there is one.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd distill`", "train")
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.training import run_distillation

    loaded = open_recipe(recipe, overrides)
    run_distillation(loaded, runs_dir, output, teacher=teacher, resume=resume, overwrite=overwrite)
