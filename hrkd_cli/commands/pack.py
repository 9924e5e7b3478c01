"""`hrkd bench pack`: bundles and all that measures them, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overwrite

EXAMPLES = """\b
Examples:
  hrkd bench pack runs/demo/bundles/int8 --output runner.pyz
  python3 runner.pyz --output result.json                           (on the device)
  hrkd bench merge result.json runs/demo/bundles/int8 --output device.json
"""


def command(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles made by `hrkd export`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write, e.g. runner.pyz.")],
    baselines: Annotated[
        list[Path] | None, typer.Option("--baseline", metavar="BUNDLE", help="Bundle to compare with; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads of each model.")] = None,
    max_texts: Annotated[
        int | None, typer.Option("--max-texts", metavar="N", help="Measure at most N texts, of all domains alike.")
    ] = None,
    memory_limit: Annotated[
        bool, typer.Option("--memory-limit", help="Find the smallest memory limit that each bundle passes there.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write one file that measures bundles on a device that cannot be reached.

    It needs Python 3.11 with numpy, onnxruntime and tokenizers there, and writes one JSON file.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bench pack`", "edge")
    from hrkd_bench.bench import recognise
    from hrkd_bench.device.pack import pack
    from hrkd_cli.recipes import bench_config

    compared = baselines or []
    found = recognise(bundles, compared)
    config = bench_config(threads=threads, max_texts=max_texts)
    own, baselines_found = found[len(compared) :], found[: len(compared)]
    pack(output, own, baselines_found, config, memory_limit=memory_limit, overwrite=overwrite)
    size = output.stat().st_size
    Output(as_json).result({"file": str(output), "size_bytes": size}, f"{output}: {size / 1e6:.1f} MB")
