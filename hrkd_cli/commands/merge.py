"""`hrkd bench merge`: what a packed measurement brought back, as a bench document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, JUnit, Markdown, Overwrite, Quiet

EXAMPLES = """\b
Examples:
  hrkd bench merge result.json runs/demo/bundles/int8 --output device.json
  hrkd bench merge result.json runs/demo/bundles/int8 --device "Pi 5" --beside runs/demo --report both.html
"""


def command(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="What the packed file wrote on the device.")],
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="The bundles that were packed.")],
    baselines: Annotated[
        list[Path] | None, typer.Option("--baseline", metavar="BUNDLE", help="Packed baseline; repeatable.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="The device's name; its processor, or `device` with --beside."),
    ] = None,
    beside: Annotated[
        Path | None, typer.Option("--beside", metavar="BENCH", help="Show it beside this bench.json or run.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="LIMITS", help="Limits to hold on the device: p95=50ms.")
    ] = None,
    junit: JUnit = None,
    markdown: Markdown = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the document, e.g. device.json.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report page, e.g. report.html.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read what a packed measurement brought back; hashes of all that ran there are compared with the bundles here."""
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bench merge`", "edge", *(["report"] if report else []))
    from hrkd_cli.judge import Judge
    from hrkd_cli.measure import NAMELESS, finish, merged
    from hrkd_cli.measurement_files import Files

    files = Files(output, report, junit, markdown, overwrite)
    judge = Judge.of(budget, files, device=None if beside is None else device or NAMELESS)
    files.check_targets()
    finish(merged(result, bundles, baselines or [], device, beside), Output(as_json, quiet), files, judge)
