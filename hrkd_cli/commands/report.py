"""`hrkd report`: the page of a measurement, rendered again from its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overwrite

EXAMPLES = """\b
Examples:
  hrkd report runs/demo --output demo.html
  hrkd report bench.json
"""


def command(
    source: Annotated[Path, typer.Argument(metavar="BENCH_JSON|RUN", help="A bench.json, or a run folder with one.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Page to write; report.html beside the JSON.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Render the report page of a measurement."""
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd report`", "edge", "report")
    from hrkd_cli.measure import write_report
    from hrkd_cli.measurement_files import read_measurement, refuse_existing

    document = read_measurement(source)
    page = output or (source if source.is_dir() else source.parent) / "report.html"
    refuse_existing(page, overwrite=overwrite)
    write_report(document, page, source if source.is_dir() else source.parent)
    Output(as_json).result({"report": str(page)}, str(page))
