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
"""


def command(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Model folder, e.g. runs/demo/student.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX; the only format, and so the default.")] = True,
    quantize: Annotated[
        str | None, typer.Option("--quantize", metavar="int8", help="Quantise the weights; fp32 when left out.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME", help="avx2, avx512, avx512_vnni, arm64, or auto: this machine."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="Library that quantises: auto, optimum or ort.")
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
    from hrkd_cli.bundles import default_output, make_bundle, manifest_lines
    from hrkd_cli.recipes import export_config, recipe_beside

    sink = Output(as_json, quiet)
    recipe = recipe_beside(student)
    config = export_config(recipe, quantize=quantize, target=target, backend=backend)
    bundle = output or default_output(student, config)
    manifest = make_bundle(student, bundle, config, sink, recipe=recipe, overwrite=overwrite)
    sink.result({"bundle": str(bundle), **manifest.model_dump(mode="json")}, manifest_lines(bundle, manifest))
