"""Options that several commands share, each written once.

An option that overrides a recipe's value defaults to None, "as the recipe says": the defaults live in `hrkd.recipe`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

RUNS_DIR = Path("runs")


class Tracker(StrEnum):
    """A service that draws the curves of a training; the value is the name of its package."""

    WANDB = "wandb"
    MLFLOW = "mlflow"


def _shipped_recipes(incomplete: str) -> list[str]:
    """Complete the name of a shipped recipe."""
    from hrkd_cli.recipes import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a shipped recipe (`hrkd recipe list`).",
        autocompletion=_shipped_recipes,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override one value of the recipe, e.g. --set training.epochs=1; repeatable.",
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="FOLDER", help="Where run folders stand.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that were made from other inputs.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr, only warnings and errors.")]
Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on from an unfinished stage's checkpoint, if there is one.")
]
Track = Annotated[
    list[Tracker] | None,
    typer.Option(
        "--track",
        metavar="wandb|mlflow",
        help="Send loss, domain ratios and validation accuracy to this service too; repeatable.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, try some steps, say what time and memory it will take.")
]
JUnit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write what was checked for a build server (JUnit XML).")
]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write what was checked as a Markdown table.")
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Measure under a small target's limits (docs/profiles.md)."),
]
Host = Annotated[str | None, typer.Option("--host", metavar="USER@DEVICE", help="Measure on that device, over ssh.")]
Port = Annotated[int | None, typer.Option("--port", metavar="N", help="Port of its ssh server.")]
Identity = Annotated[Path | None, typer.Option("--identity", metavar="FILE", help="Key to log in with.")]
Python = Annotated[str | None, typer.Option("--python", metavar="PATH", help="Python on the device, 3.11 or later.")]
Wheels = Annotated[
    Path | None, typer.Option("--wheels", metavar="FOLDER", help="Wheels for an environment there; removed afterwards.")
]
