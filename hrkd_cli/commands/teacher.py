"""`hrkd teacher`: train the multi-domain teacher, or adopt the user's own."""

from __future__ import annotations

from hrkd_cli.options import RUNS_DIR, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir

EXAMPLES = """\b
Examples:
  hrkd teacher demo
  hrkd teacher my.yaml --set teacher.training.epochs=1 --runs-dir /data/runs
"""


def command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Resume = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the teacher, or adopt your own.

    It becomes RUNS_DIR/NAME/teacher. Kept as it is when nothing that decides it has changed.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd teacher`", "train")
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.training import run_teacher

    run_teacher(open_recipe(recipe, overrides), runs_dir, output, resume=resume, overwrite=overwrite)
