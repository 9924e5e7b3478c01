"""`hrkd evaluate`: accuracy per domain of a teacher or student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overrides, Quiet

EXAMPLES = """\b
Examples:
  hrkd evaluate runs/demo/student
  hrkd evaluate runs/demo/student --recipe demo --json
"""


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, e.g. runs/demo/student.")],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="RECIPE", help="Score on this recipe's test split, not the folder's texts."),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a model in every domain.

    Accuracy with its 95 % interval, macro-F1, and agreement with the teacher.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    output = Output(as_json, quiet)
    require("`hrkd evaluate`", "train")
    if overrides and recipe is None:
        raise typer.BadParameter("goes with --recipe", param_hint="--set")
    from hrkd.evaluation import evaluate
    from hrkd_cli.recipes import open_recipe
    from hrkd_cli.tables import evaluation_summary, evaluation_table

    evaluation = evaluate(model, open_recipe(recipe, overrides).data if recipe else None)
    output.result(evaluation.to_dict(), evaluation_table(evaluation), evaluation_summary(evaluation))
