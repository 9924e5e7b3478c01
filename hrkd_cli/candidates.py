"""`--quantize auto`: make every candidate of the target, measure them side by side, and keep the best one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hrkd.artifact import new_folder, read_json, write_json
from hrkd.bundle import Manifest, open_bundle
from hrkd.errors import ArtifactError, ExportError, HrkdError
from hrkd.recipe import BenchConfig, ExportConfig, Quantization, Recipe
from hrkd.shape import to_json
from hrkd_bench.bench import bench
from hrkd_cli.bench_progress import bench_progress
from hrkd_cli.bundles import make_bundle, role_of
from hrkd_cli.output import Output
from hrkd_export import inputs_hash
from hrkd_export.choice import Candidate, Verdict, choose
from hrkd_export.target import resolve_target

FP32 = "fp32"
DEFAULT_LIMIT = 1.0
"""Points that quantising may cost in any domain where the recipe sets no limit: `auto` must not trade silently."""
MEASURED = BenchConfig(rounds=3, cold_starts=1, max_texts=300, min_samples=300, min_seconds=0, lengths=())
SCHEMA_VERSION = 1


def make_best(
    checkpoint: Path, bundle: Path, config: ExportConfig, output: Output, *, recipe: Recipe | None, overwrite: bool
) -> tuple[Manifest, list[dict[str, Any]]]:
    """Make, measure and choose; the winner becomes ``bundle``, and a table of all stands beside it as JSON.

    Args:
        checkpoint: Model folder.
        bundle: Folder of the winner.
        config: With ``quantize: auto``.
        output: Receives progress.
        recipe: Of the run; leads to validation and calibration texts.
        overwrite: Whether an existing bundle is replaced. A choice of ours from the same inputs always is, where what
            it rests on was disturbed.

    Returns:
        The winner's manifest and one row per candidate.

    Raises:
        ArtifactError: ``bundle`` exists and ``overwrite`` is false; raised before any work.
        ExportError: No candidate could be made within the limits.
    """
    wanted = inputs_hash(checkpoint, config, role_of(checkpoint))
    before = _chosen_before(bundle, wanted)
    if before is not None and before.valid:
        output.note(f"{bundle}: kept, its inputs are unchanged")
        return before.manifest, before.rows
    if before is not None:
        output.note(f"{bundle}: chosen again, because the times behind the last choice are INVALID")
    elif bundle.exists() and not overwrite:
        raise ArtifactError(f"`{bundle}` exists already", hint="choose another name, or pass --overwrite")
    limited = config if config.max_drop_per_domain else config.model_copy(update={"max_drop_per_domain": DEFAULT_LIMIT})
    rows = _choose(checkpoint, bundle, limited, output, recipe, overwrite=overwrite or before is not None)
    manifest = open_bundle(bundle)
    table = {"inputs": wanted, "winner": manifest.bundle_hash, "candidates": rows}
    write_json(_table_path(bundle), {"schema_version": SCHEMA_VERSION, **table})
    return manifest, rows


def candidate_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the comparison for people: sizes in MB, times in ms, everything else in %."""
    table = Table(title="candidates on this machine, one thread, one text at a time", title_justify="left")
    for column in ("candidate", "size", "p50", "average", "worst domain", "flips", ""):
        table.add_column(column, justify="left" if column in ("candidate", "") else "right")
    for row in rows:
        marks = f"{' *' if row['won'] else ''}{' INVALID' if row['valid'] is False else ''}"
        name, reason = Text(f"{row['name']}{marks}"), Text(row["reason"])
        if row["latency_ms"] is None:
            table.add_row(name, *["-"] * 5, reason)
            continue
        flips = "-" if row["flips"] is None else f"{100 * row['flips']:.1f}"
        scores = [f"{100 * row[key]:.1f}" for key in ("average", "worst")]
        table.add_row(name, f"{row['size_bytes'] / 1e6:.1f}", f"{row['latency_ms']:.2f}", *scores, flips, reason)
    return table


def _choose(
    checkpoint: Path, bundle: Path, config: ExportConfig, output: Output, recipe: Recipe | None, *, overwrite: bool
) -> list[dict[str, Any]]:
    """Make and measure all candidates, put the winner at ``bundle``, and return the rows of the table."""
    with _working_folder(bundle) as folder:
        candidates = list(_make(checkpoint, folder, config, output, recipe))
        verdicts = choose(_measure(candidates, folder, output), config.max_size_mb)
        winner = next((verdict.candidate for verdict in verdicts if verdict.won), None)
        if winner is None or winner.manifest is None:
            reasons = "; ".join(f"{verdict.candidate.name}: {verdict.reason}" for verdict in verdicts)
            raise ExportError(f"no candidate could be made: {reasons}")
        with new_folder(bundle, replace=overwrite) as final:
            shutil.copytree(folder / winner.name, final, dirs_exist_ok=True)
    return [_row(verdict) for verdict in verdicts]


def _make(
    checkpoint: Path, folder: Path, config: ExportConfig, output: Output, recipe: Recipe | None
) -> Iterator[Candidate]:
    ways: list[Quantization | None] = [None, *resolve_target(config.target, config.targets).quantizations]
    for way in ways:
        name = FP32 if way is None else way.value
        output.note(f"== {name}")
        one = config.model_copy(update={"quantize": way})
        try:
            manifest = make_bundle(checkpoint, folder / name, one, output, recipe=recipe, overwrite=True)
        except HrkdError as error:
            if way is None:
                raise  # what fails without quantising is no property of a candidate
            output.note(f"{name}: {error.message}")
            yield Candidate(name, failure=error.message)
            continue
        yield Candidate(name, manifest)


def _measure(candidates: Sequence[Candidate], folder: Path, output: Output) -> list[Candidate]:
    """Return the candidates with their median latencies, measured in turns on the evaluation texts."""
    made = [candidate for candidate in candidates if candidate.failure is None]
    with bench_progress(output) as progress:
        document = bench([folder / candidate.name for candidate in made], config=MEASURED, progress=progress)
    results = dict(zip((candidate.name for candidate in made), document["results"], strict=True))
    reasons = dict.fromkeys(reason for result in results.values() for reason in result["invalid_reasons"])
    if reasons:
        output.warning(f"INVALID times, by which another candidate may have won: {'; '.join(reasons)}")
    return [_measured(candidate, results.get(candidate.name)) for candidate in candidates]


def _measured(candidate: Candidate, result: Mapping[str, Any] | None) -> Candidate:
    if result is None:
        return candidate
    median, reasons = result["latency_ms"]["end_to_end"]["p50"], result["invalid_reasons"]
    return replace(candidate, latency_ms=median, invalid_reasons=tuple(reasons))


def _row(verdict: Verdict) -> dict[str, Any]:
    candidate, manifest = verdict.candidate, verdict.candidate.manifest
    row: dict[str, Any] = {
        "name": candidate.name,
        "won": verdict.won,
        "on_front": verdict.on_front,
        "reason": verdict.reason,
        "failure": candidate.failure,
        "latency_ms": candidate.latency_ms,
        "valid": None if candidate.latency_ms is None else not candidate.invalid_reasons,
        "invalid_reasons": list(candidate.invalid_reasons),
    }
    if manifest is None:
        return row
    return row | {
        "engine": manifest.engine,
        "size_bytes": manifest.size_bytes,
        "average": manifest.reference.average,
        "worst": manifest.reference.worst,
        "domains": manifest.reference.domains,
        "validation": manifest.validation,
        "flips": None if manifest.flips is None else manifest.flips.from_fp32,
        "kept_in_float": list(manifest.guard.kept_in_float) if manifest.guard else [],
        "fusions": manifest.fusions,
        "invariance": to_json(manifest.invariance),
    }


def _table_path(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.candidates.json")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A winner that stands where it was put, its table, and whether nothing disturbed the measurement behind it."""

    manifest: Manifest
    rows: list[dict[str, Any]]
    valid: bool


def _chosen_before(bundle: Path, wanted: str) -> _Choice | None:
    """Return an undamaged winner that was chosen from exactly these inputs; None also for another bundle there."""
    try:
        document = read_json(_table_path(bundle))
        manifest, rows = open_bundle(bundle), list(document["candidates"])
        if (document["inputs"], document["winner"]) != (wanted, manifest.bundle_hash):
            return None
        return _Choice(manifest, rows, all(row["valid"] is not False for row in rows))
    except (ArtifactError, KeyError, TypeError):
        return None


@contextmanager
def _working_folder(bundle: Path) -> Iterator[Path]:
    """Yield a folder for the candidates beside the bundle; it stays when the work is interrupted, to go on from."""
    folder = bundle.with_name(f".{bundle.name}.candidates")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
