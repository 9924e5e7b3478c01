"""`hrkd run`: the whole loop from texts to a measured bundle."""

from __future__ import annotations

from hrkd_cli.options import RUNS_DIR, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir

EXAMPLES = """\b
Examples:
  hrkd run demo
  hrkd run my.yaml --set training.epochs=5 --set name=longer
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
    """Do the whole loop, from texts to a measured bundle.

    Data check, teacher, distillation, ONNX, int8, measurement, report: everything lands in RUNS_DIR/NAME.
    Stages whose inputs are unchanged are kept; an interrupted run goes on when the same command is given again.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd run`", "export", "edge", "report")
    from hrkd_cli.pipeline import run_recipe
    from hrkd_cli.recipes import open_recipe

    run_recipe(open_recipe(recipe, overrides), runs_dir, output, resume=resume, overwrite=overwrite)
