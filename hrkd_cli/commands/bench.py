"""`hrkd bench`: latency, memory, size and accuracy on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overwrite, Quiet

EXAMPLES = """\b
Examples:
  hrkd bench runs/demo/bundles/int8
  hrkd bench runs/demo/bundles/int8 --baseline runs/demo/teacher --threads 1 --output bench.json --report report.html
"""


def command(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles made by `hrkd export`.")],
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline",
            metavar="TEACHER",
            help="Model folder (measured in PyTorch, and in ONNX where it can be exported) or bundle; repeatable.",
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads of each model.")] = None,
    max_texts: Annotated[
        int | None, typer.Option("--max-texts", metavar="N", help="Measure at most N texts, of all domains alike.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the document, e.g. bench.json.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report page, e.g. report.html.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure bundles on this machine.

    Latency, memory, size, accuracy per domain, agreement with the teacher. Bundles need no torch.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bench`", "edge", *(["report"] if report else []))
    from hrkd_cli.measure import measure
    from hrkd_cli.recipes import bench_config

    measure(
        bundles,
        Output(as_json, quiet),
        baselines=baselines or [],
        config=bench_config(threads=threads, max_texts=max_texts),
        document=output,
        report=report,
        overwrite=overwrite,
    )
