"""`hrkd run`: the whole loop from texts to a measured bundle."""

from __future__ import annotations

from hrkd_cli.options import RUNS_DIR, DryRun, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir, Track

EXAMPLES = """\b
Examples:
  hrkd run demo
  hrkd run my.yaml --set training.epochs=5 --set name=longer
  hrkd run my.yaml --dry-run
"""


def command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Resume = True,
    overwrite: Overwrite = False,
    track: Track = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do the whole loop, from texts to a measured bundle.

    Data check, teacher, distillation, ONNX, int8, measurement, report: everything lands in RUNS_DIR/NAME.
    Stages whose inputs are unchanged are kept; an interrupted run goes on when the same command is given again.
    """
    from functools import partial

    from hrkd_cli.extras import require, require_trackers
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd run`", "export", "edge", "report")
    require_trackers(track or ())
    from hrkd_cli.dry_run import show_dry_run, try_run
    from hrkd_cli.pipeline import run_recipe
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.training import TrainingOptions

    loaded = open_recipe(recipe, overrides)
    if dry_run:
        show_dry_run(loaded, runs_dir, output, partial(try_run, output=output, resume=resume, overwrite=overwrite))
    else:
        run_recipe(loaded, runs_dir, output, TrainingOptions(resume, overwrite, tuple(track or ())))
