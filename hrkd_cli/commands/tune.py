"""`hrkd bench tune`: the session settings that are fastest on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  hrkd bench tune runs/demo/bundles/int8
  hrkd bench tune runs/demo/bundles/int8 --save
"""


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle made by `hrkd export`.")],
    save: Annotated[bool, typer.Option("--save", help="Save what is certainly faster in the bundle.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try threads, spinning and memory settings in turns.

    The default stays unless another setting is faster twice: in the search, and again in fresh processes.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bench tune`", "edge")
    from hrkd_bench.tuning.saving import save_session
    from hrkd_bench.tuning.search import tune, tuning_table
    from hrkd_cli.bench_progress import bench_progress

    output = Output(as_json, quiet)
    with bench_progress(output) as progress:
        tuning = tune(bundle, progress=progress)
    saved = save and tuning.improves
    if saved:
        save_session(bundle, tuning.session())
    output.result({**tuning.document(), "saved": saved}, tuning_table(tuning))
    if save and not saved:
        output.note("nothing was saved: no setting is certainly faster than the bundle's own")
