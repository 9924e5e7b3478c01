"""`hrkd bench`: latency, memory, size and accuracy on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.commands import compare, merge, pack, tune
from hrkd_cli.default_group import DefaultGroup
from hrkd_cli.options import (
    Host,
    Identity,
    Json,
    JUnit,
    Markdown,
    Overwrite,
    Port,
    Profile,
    Python,
    Quiet,
    Wheels,
)

EXAMPLES = """\b
Examples:
  hrkd bench runs/demo/bundles/int8
  hrkd bench runs/demo/bundles/int8 --baseline runs/demo/teacher --threads 1 --output bench.json --report report.html
  hrkd bench runs/demo/bundles/int8 --budget p95=5ms,size=20MB --junit budget.xml     (exit code 3 when it is missed)
  hrkd bench runs/demo/bundles/int8 --rate 200 --minutes 10
  hrkd bench runs/demo/bundles/int8 --profile quota-0.5
  hrkd bench runs/demo/bundles/int8 --target browser
  hrkd bench runs/demo/bundles/int8 --host pi@raspberrypi.local --output pi.json
  hrkd bench pack runs/demo/bundles/int8 --output runner.pyz       (for a device that cannot be reached)
  hrkd bench tune runs/demo/bundles/int8 --save
  hrkd bench compare old.json new.json --max-slowdown 3%

\b
Further commands, each with its own --help:
  hrkd bench compare   whether a measurement is worse than an earlier one
  hrkd bench tune      which session settings are fastest here
  hrkd bench pack      one file that measures on a device that cannot be reached
  hrkd bench merge     what such a file brought back
"""
app = typer.Typer(cls=DefaultGroup, help="Measure bundles on this machine.", rich_markup_mode=None)


@app.command("measure", epilog=EXAMPLES)
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
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", help="Fresh processes of each model; a verdict needs 2.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="R", help="Also send R requests per second at random times (open loop)."),
    ] = None,
    minutes: Annotated[
        int | None, typer.Option("--minutes", metavar="N", help="Also let each bundle work N minutes without a pause.")
    ] = None,
    target: Annotated[
        str,
        typer.Option("--target", metavar="PLACE", help="`here`, or in a `browser` (headless Chromium)."),
    ] = "here",
    browser: Annotated[
        Path | None, typer.Option("--browser", metavar="FILE", help="Browser to use; found by name if left out.")
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option("--assets", metavar="FOLDER", help="node_modules with the page's libraries; npm's otherwise."),
    ] = None,
    profile: Profile = None,
    profiles: Annotated[
        Path | None, typer.Option("--profiles", metavar="FILE", help="YAML file with further profiles.")
    ] = None,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    python: Python = None,
    wheels: Wheels = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="What the device is called; its processor.")
    ] = None,
    memory_limit: Annotated[
        bool, typer.Option("--memory-limit", help="Find the smallest memory limit that each bundle passes.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="LIMITS", help="Limits to hold: p95=5ms,size=10MB,worst-domain-drop=1."),
    ] = None,
    drops_from: Annotated[
        str | None, typer.Option("--drops-from", metavar="NAME", help="Model that drops are counted from; the teacher.")
    ] = None,
    junit: JUnit = None,
    markdown: Markdown = None,
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
    from hrkd_cli.judge import Judge
    from hrkd_cli.measure import measure
    from hrkd_cli.measurement_files import Files
    from hrkd_cli.places import PlaceOptions
    from hrkd_cli.recipes import bench_config

    place = PlaceOptions(
        target, profile, profiles, browser, assets, host, port, identity, python, wheels, device, memory_limit
    )
    files = Files(output, report, junit, markdown, overwrite)
    measure(
        bundles,
        Output(as_json, quiet),
        baselines=baselines or [],
        config=bench_config(threads=threads, max_texts=max_texts, rounds=rounds, rate=rate, minutes=minutes),
        files=files,
        judge=Judge.of(budget, files, drops_from=drops_from),
        place=place,
    )


app.command("compare", epilog=compare.EXAMPLES)(compare.command)
app.command("tune", epilog=tune.EXAMPLES)(tune.command)
app.command("pack", epilog=pack.EXAMPLES)(pack.command)
app.command("merge", epilog=merge.EXAMPLES)(merge.command)
