"""`hrkd plan`: which student fits a budget, before any is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import (
    RUNS_DIR,
    Host,
    Identity,
    Json,
    Overrides,
    Port,
    Profile,
    Python,
    Quiet,
    RunsDir,
    Wheels,
)

MEASURED = 7
EXAMPLES = """\b
Examples:
  hrkd plan demo --budget p95=5ms,size=10MB --output small.yaml
  hrkd plan demo --budget p50=1ms --grid layers=2,3,4 --grid width=256,384 --grid vocab=full,8000
  hrkd plan runs/demo/teacher --budget size=8MB,rss=120MB
  hrkd plan demo --budget p95=50ms --host pi@raspberrypi.local --target arm64 --output pi.yaml
"""


def command(
    source: Annotated[
        str, typer.Argument(metavar="RECIPE|TEACHER", help="A recipe, or the teacher's folder inside a run.")
    ],
    budget: Annotated[
        str, typer.Option("--budget", metavar="LIMITS", help="On p50, p95, size, rss, cold, ...: p95=5ms,size=10MB.")
    ],
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="AXIS=VALUES", help="Of layers, width, vocab, precision; repeatable."),
    ] = None,
    measured: Annotated[
        int, typer.Option("--measure", metavar="N", min=4, help="Encoders to measure before predicting the others.")
    ] = MEASURED,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="avx2, arm64, ... (docs); the recipe's if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads of each model.")] = None,
    profile: Profile = None,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    python: Python = None,
    wheels: Wheels = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the chosen shape as a recipe.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option("--work", metavar="FOLDER", help="Keeps built students; RUNS_DIR/NAME/plan.")
    ] = None,
    overrides: Overrides = None,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the largest student within a budget, before any is trained.

    Latency and size do not depend on what was learned: untrained students of some shapes are exported and measured
    here or on a device, the others predicted, and those that seem to fit measured too. What was built is kept for the
    next call.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd plan`", "export", "edge")
    from hrkd_bench.gate.budget import parse_budget
    from hrkd_cli.places import PlaceOptions
    from hrkd_cli.plan import PlanRequest, make_plan, open_source, refuse_own_target

    output = Output(as_json, quiet)
    place = PlaceOptions(profile=profile, host=host, port=port, identity=identity, python=python, wheels=wheels)
    limits = parse_budget(budget)
    recipe, teacher = open_source(source, overrides, target=target, threads=threads)
    refuse_own_target(recipe, host)
    folder = work or runs_dir / recipe.name / "plan"
    request = PlanRequest(limits, tuple(grid or ()), measured, folder, recipe_file)
    make_plan(recipe, teacher, request, output, place.place(output))
