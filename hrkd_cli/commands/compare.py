"""`hrkd bench compare`: a newer measurement against an older one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, JUnit, Markdown, Overwrite

EXAMPLES = """\b
Examples:
  hrkd bench compare main.json branch.json
  hrkd bench compare main.json branch.json --max-slowdown 5% --max-drop 0.5 --junit compare.xml
"""


def command(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A bench.json, or the run folder that holds one.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A bench.json, or the run folder that holds one.")],
    slowdown: Annotated[
        str, typer.Option("--max-slowdown", metavar="SHARE", help="Slowdown at p50 that is allowed.")
    ] = "3%",
    drop: Annotated[
        float, typer.Option("--max-drop", metavar="POINTS", min=0, help="Points of accuracy that may be lost.")
    ] = 0.5,
    growth: Annotated[
        str, typer.Option("--max-growth", metavar="SHARE", help="Growth in size that is allowed.")
    ] = "2%",
    junit: JUnit = None,
    markdown: Markdown = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare two measurements of one machine; exit code 3 when the newer one is certainly worse than allowed."""
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bench compare`", "edge")
    from hrkd_cli.judge import compare
    from hrkd_cli.measurement_files import Files

    compare(
        old,
        new,
        Output(as_json),
        slowdown=slowdown,
        drop=drop,
        growth=growth,
        files=Files(None, None, junit, markdown, overwrite),
    )
