"""`hrkd teacher`: train the multi-domain teacher, or adopt the user's own."""

from __future__ import annotations

from hrkd_cli.options import RUNS_DIR, DryRun, Json, Overrides, Overwrite, Quiet, RecipeArgument, Resume, RunsDir, Track

EXAMPLES = """\b
Examples:
  hrkd teacher demo
  hrkd teacher my.yaml --set teacher.training.epochs=1 --runs-dir /data/runs
  hrkd teacher my.yaml --dry-run
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
    """Train the teacher, or adopt your own.

    It becomes RUNS_DIR/NAME/teacher. Kept as it is when nothing that decides it has changed.
    """
    from functools import partial

    from hrkd_cli.extras import require, require_trackers
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd teacher`", "train")
    require_trackers(track or ())
    from hrkd.training.dry_run import dry_run_teacher
    from hrkd_cli.dry_run import show_dry_run
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.training import TrainingOptions, run_teacher

    loaded = open_recipe(recipe, overrides)
    if dry_run:
        show_dry_run(loaded, runs_dir, output, partial(dry_run_teacher, resume=resume, overwrite=overwrite))
    else:
        run_teacher(loaded, runs_dir, output, TrainingOptions(resume, overwrite, tuple(track or ())))
