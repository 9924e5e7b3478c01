"""`hrkd export`: a model folder becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overwrite, Quiet

EXAMPLES = """\b
Examples:
  hrkd export runs/demo/student --onnx --quantize int8
  hrkd export runs/demo/student --onnx --quantize int8 --target arm64 --output bundles/pi
  hrkd export runs/demo/student --quantize auto --trim-vocab --max-drop-per-domain 1.0
  hrkd export runs/demo/student --quantize auto --max-rows 17000 --max-size 10
"""


def command(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Model folder, e.g. runs/demo/student.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX; the only format, and so the default.")] = True,
    quantize: Annotated[
        str | None,
        typer.Option("--quantize", metavar="NAME", help="int8, auto, or another way (docs); fp32 when left out."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="avx2, arm64, ... (docs); auto: this machine.")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option("--targets", metavar="FILE", help="YAML file with targets of your own.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="Library that quantises: auto, optimum or ort.")
    ] = None,
    runtime_version: Annotated[
        str | None, typer.Option("--runtime-version", metavar="1.16", help="Oldest onnxruntime that must read it.")
    ] = None,
    trim_vocab: Annotated[
        bool | None, typer.Option("--trim-vocab/--full-vocab", help="Drop pieces that no training text uses.")
    ] = None,
    max_vocab: Annotated[int | None, typer.Option("--max-vocab", metavar="N", help="Keep at most N pieces.")] = None,
    max_rows: Annotated[
        int | None, typer.Option("--max-rows", metavar="N", help="Rare pieces share embedding rows; N rows are left.")
    ] = None,
    max_size: Annotated[
        float | None, typer.Option("--max-size", metavar="MB", help="With --quantize auto: largest bundle to ship.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop-per-domain", metavar="POINTS", help="Most that any domain may lose.")
    ] = None,
    recipe_name: Annotated[
        str | None, typer.Option("--recipe", metavar="RECIPE", help="Of the run; the one beside STUDENT if left out.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Bundle folder; ../bundles/int8 and so on.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Export a model to a verified ONNX bundle.

    Other settings come from the recipe of the run that the model stands in.
    """
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd export`", "export")
    from hrkd.recipe import Quantization
    from hrkd_cli.bundles import default_output, export_and_show
    from hrkd_cli.recipes import export_config, open_recipe, recipe_beside
    from hrkd_cli.strays import refuse_stray

    recipe = open_recipe(recipe_name) if recipe_name else recipe_beside(student)
    config = export_config(
        recipe,
        quantize=quantize,
        target=target,
        targets=None if targets is None else str(targets),
        backend=backend,
        runtime_version=runtime_version,
        trim_vocab=trim_vocab,
        max_vocab=max_vocab,
        max_rows=max_rows,
        max_size_mb=max_size,
        max_drop_per_domain=max_drop,
    )
    refuse_stray(max_size is not None, "--max-size", "--quantize auto", given=config.quantize is Quantization.AUTO)
    bundle = output or default_output(student, config)
    export_and_show(student, bundle, config, Output(as_json, quiet), recipe=recipe, overwrite=overwrite)
