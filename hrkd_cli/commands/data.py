"""`hrkd data`: bring a known data set, and look at any before training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overrides, Quiet

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Fetch and check data sets.")

CHECK_EXAMPLES = """\b
Examples:
  hrkd data check demo
  hrkd data check files --path reviews.csv --text-column body --domain-column shop
"""


@app.command(epilog="\b\nExample:\n  hrkd data fetch vader")
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Known data set: vader.")],
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="FILE", help="Source archive that was downloaded elsewhere.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a known data set into the cache.

    Downloaded once, checked by its hash, never executed.
    """
    from hrkd_cli.data import fetch_by_name
    from hrkd_cli.output import Output

    folder = fetch_by_name(name, archive, Output(as_json, quiet))
    Output(as_json, quiet).result({"name": name, "folder": str(folder)}, str(folder))


@app.command(epilog=CHECK_EXAMPLES)
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE|RECIPE",
            help="Recipe file, shipped recipe, or source: vader, hub, files.",
        ),
    ],
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Folder, file or Hub id.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column", metavar="NAME")] = None,
    text_pair_column: Annotated[str | None, typer.Option("--text-pair-column", metavar="NAME")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", metavar="NAME")] = None,
    domain_column: Annotated[str | None, typer.Option("--domain-column", metavar="NAME")] = None,
    split_column: Annotated[str | None, typer.Option("--split-column", metavar="NAME")] = None,
    split_file: Annotated[str | None, typer.Option("--split-file", metavar="FILE")] = None,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report what a data set holds, per domain.

    Sizes, label balance, duplicates within and across splits, empty and over-long texts.
    """
    from hrkd_cli.data import check_data, data_config

    columns = {"text_column": text_column, "text_pair_column": text_pair_column, "label_column": label_column}
    columns |= {"domain_column": domain_column, "split_column": split_column}
    values = {"path": path, "split_file": split_file, **columns}
    from hrkd_cli.output import Output

    config, base = data_config(source, values, overrides or [])
    check_data(config, base, Output(as_json, quiet))
