"""Measuring bundles against baselines. Imports nothing that a device does not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hrkd.artifact import read_json, write_json
from hrkd.errors import ArtifactError, HrkdError
from hrkd.model_folder import CLASSIFIER
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from hrkd_cli.bench_progress import bench_progress
from hrkd_cli.extras import EXTRA_MODULES, is_installed
from hrkd_cli.output import Output


def measure(
    bundles: Sequence[Path],
    output: Output,
    *,
    baselines: Sequence[Path],
    config: BenchConfig,
    document: Path | None,
    report: Path | None,
    overwrite: bool,
) -> None:
    """Measure, write what was asked for, and print the table.

    Raises:
        ArtifactError: An output file exists and ``overwrite`` is false; said before measuring.
    """
    for path in (document, report):
        refuse_existing(path, overwrite=overwrite)
    compared = [path for baseline in baselines for path in with_onnx_teacher(baseline, output)]
    with bench_progress(output) as progress:
        value = bench(bundles, baselines=compared, config=config, progress=progress)
    if document is not None:
        write_json(document, value)
    if report is not None:
        write_report(value, report)
    show(value, output, *(path for path in (document, report) if path is not None))


def with_onnx_teacher(baseline: Path, output: Output) -> list[Path]:
    """Return a baseline and, for a model folder, also its unquantised ONNX bundle, made when absent or stale.

    PyTorch and onnxruntime differ in speed by themselves, so a student is only fairly compared on its own engine too.
    """
    if not (baseline / CLASSIFIER).is_file():
        return [baseline]
    if not all(is_installed(module) for module in EXTRA_MODULES["export"]):
        output.note(f"{baseline}: not measured in ONNX as well, which needs pip install 'hrkd[export]'")
        return [baseline]
    from hrkd_cli.bundles import teacher_bundle
    from hrkd_cli.recipes import recipe_beside

    try:
        return [baseline, teacher_bundle(baseline, output, recipe=recipe_beside(baseline))]
    except HrkdError as error:
        output.warning(f"{baseline}: not measured in ONNX as well: {error.message}")
        return [baseline]


def refuse_existing(path: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace a file unasked.

    Raises:
        ArtifactError: ``path`` exists and ``overwrite`` is false.
    """
    if path is not None and path.exists() and not overwrite:
        raise ArtifactError(f"`{path}` exists already", hint="choose another name, or pass --overwrite")


def read_document(path: Path) -> dict[str, Any]:
    """Read a bench.json, given itself or the run folder that holds it.

    Raises:
        ArtifactError: It does not exist or is no JSON object.
    """
    file = path / "bench.json" if path.is_dir() else path
    value = read_json(file)
    if not isinstance(value, dict):
        raise ArtifactError(f"`{file}` is not a bench document", hint="`hrkd bench` makes one")
    return value


def write_report(document: dict[str, Any], path: Path, run: Path | None = None) -> None:
    """Render the report page, with what the run folder knows when there is one."""
    from hrkd_bench.report import render_report
    from hrkd_cli.report_context import run_context

    render_report(document, path, context=run_context(run) if run is not None else None)


def show(document: dict[str, Any], output: Output, *files: Path) -> None:
    """Print the table of a bench document and the paths of the files that were written."""
    from hrkd_bench.table import bench_table, comparison_lines

    output.result(document, bench_table(document), *comparison_lines(document), *(str(file) for file in files))
