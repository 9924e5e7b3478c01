"""Measuring bundles against baselines. Imports nothing that a device does not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from hrkd.artifact import write_json
from hrkd.errors import HrkdError
from hrkd.model_folder import CLASSIFIER
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import recognise
from hrkd_bench.gate.findings import findings_document, findings_table, require_all
from hrkd_cli.bench_progress import bench_progress
from hrkd_cli.extras import EXTRA_MODULES, is_installed
from hrkd_cli.judge import Judge, write_findings
from hrkd_cli.measurement_files import Files, read_measurement
from hrkd_cli.output import Output
from hrkd_cli.places import PlaceOptions

NAMELESS = "device"
"""What a device is called beside this machine where nobody named it."""
THIS_MACHINE = PlaceOptions()


def measure(
    bundles: Sequence[Path],
    output: Output,
    *,
    baselines: Sequence[Path],
    config: BenchConfig,
    files: Files,
    judge: Judge,
    place: PlaceOptions = THIS_MACHINE,
) -> None:
    """Measure, write what was asked for, print the table, and check the budget.

    Everything that can be refused is refused before anything is exported or measured.

    Raises:
        ArtifactError: An output file may not be written, or a bundle is damaged.
        BenchError: Something is no model, answers another question, or cannot be measured at that place.
        BudgetError: The budget could not be checked.
        BudgetMissed: A limit is missed, or cannot be shown to hold; said after everything is written.
    """
    files.check_targets()
    place.refuse_unmeasurable(bundles, baselines, config)
    recognise(bundles, baselines)
    take = place.place(output)
    compared = place.measurable(bundles, _with_onnx_teachers(bundles, baselines, output))
    found = recognise(bundles, compared)
    judge.refuse_uncountable(found[len(compared) :], found[: len(compared)])
    with bench_progress(output) as progress:
        value = take(bundles, compared, config, progress)
    finish(value, output, files, judge)


def _with_onnx_teachers(bundles: Sequence[Path], baselines: Sequence[Path], output: Output) -> list[Path]:
    """Return the baselines, and after each model folder its ONNX bundle where that is not measured anyway."""
    given = {path.resolve() for path in (*bundles, *baselines)}
    return [
        path
        for baseline in baselines
        for path in with_onnx_teacher(baseline, output)
        if path == baseline or path.resolve() not in given
    ]


def merged(
    result: Path, bundles: Sequence[Path], baselines: Sequence[Path], device: str | None, beside: Path | None
) -> dict[str, Any]:
    """Return what a packed measurement brought back as a bench document, beside another one where that is wanted."""
    from hrkd_bench.device.merge import Measured, with_device
    from hrkd_bench.device.result import read_result

    value = Measured(read_result(result), bundles, baselines).document(device)
    return value if beside is None else with_device(read_measurement(beside), value, device or NAMELESS)


def finish(value: dict[str, Any], output: Output, files: Files, judge: Judge) -> None:
    """Write what was asked for, check the budget, and print the table.

    Raises:
        BudgetMissed: A limit is missed, or cannot be shown to hold; said after everything is written.
    """
    # First of all, because what took minutes must not be lost to a budget that cannot be checked.
    if files.document is not None:
        write_json(files.document, value)
    if files.report is not None:
        write_report(value, files.report)
    findings = judge.findings(value)
    write_findings(findings, files, "Budget")
    if not findings:
        show(value, output, *files.wanted)
        return
    document = {**value, "findings": findings_document(findings)}
    show(document, output, *files.wanted, tables=[findings_table(findings, "Budget")])
    require_all(findings, "the budget")


def with_onnx_teacher(baseline: Path, output: Output) -> list[Path]:
    """Return a baseline and, for a model folder, also its unquantised ONNX bundle, made when absent or stale.

    PyTorch and onnxruntime differ in speed by themselves, so a student is only fairly compared on its own engine too.
    """
    if not (baseline / CLASSIFIER).is_file():
        return [baseline]
    if not all(is_installed(module) for module in EXTRA_MODULES["export"]):
        output.note(f"{baseline}: not measured in ONNX as well, which needs pip install 'hrkd[export]'")
        return [baseline]
    from hrkd_cli.bundles import exact_bundle
    from hrkd_cli.recipes import recipe_beside

    try:
        return [baseline, exact_bundle(baseline, output, recipe=recipe_beside(baseline))]
    except HrkdError as error:
        output.warning(f"{baseline}: not measured in ONNX as well: {error.message}")
        return [baseline]


def write_report(document: dict[str, Any], path: Path, run: Path | None = None) -> None:
    """Render the report page, with what the run folder knows when there is one."""
    from hrkd_bench.document.schema import read_document
    from hrkd_bench.report.page import render_report
    from hrkd_cli.report_context import plan_check, run_context

    context = None if run is None else {**run_context(run), "plan": plan_check(run, read_document(document))}
    render_report(document, path, context=context)


def show(document: dict[str, Any], output: Output, *files: Path, tables: Sequence[Table] = ()) -> None:
    """Print the table of a bench document, further tables, and the paths of the files that were written."""
    from hrkd_bench.report.table import bench_table, comparison_lines

    lines = (*comparison_lines(document), *(str(file) for file in files))
    output.result(document, bench_table(document), *tables, *lines)
