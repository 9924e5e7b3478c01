"""`--dry-run`: what a training will take, and whether this machine has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from hrkd.device import gpu_memory
from hrkd.distributed import is_main
from hrkd.errors import HrkdError
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.dry_run import dry_run_all
from hrkd.training.estimate import Estimate
from hrkd.training.observer import Observer
from hrkd_bench.claims.words import size
from hrkd_bench.machine.cgroup import read_limits
from hrkd_bench.machine.facts import memory_bytes
from hrkd_bench.measurement.worker import peak_rss_bytes
from hrkd_cli.output import Output
from hrkd_cli.preflight import check_before_work
from hrkd_cli.progress import duration, training_observer
from hrkd_cli.training import joined

Attempt = Callable[[Recipe, RunFolder, Observer], list[Estimate]]
"""Tries the stages of a command, e.g. :func:`hrkd.training.dry_run.dry_run_teacher`."""


@dataclass(frozen=True, slots=True)
class Need:
    """How much of something there is, and how much the training takes.

    Attributes:
        what: ``memory``, ``GPU memory`` or ``disk``.
        needed: Bytes.
        available: Bytes; None where nobody says.
    """

    what: str
    needed: int
    available: int | None

    @property
    def fits(self) -> bool:
        """Whether it is enough, as far as is known."""
        return self.available is None or self.needed <= self.available

    def __str__(self) -> str:
        there = "unknown" if self.available is None else size(self.available)
        return f"{self.what}: {size(self.needed)} of {there}"


def show_dry_run(recipe: Recipe, runs_dir: Path, output: Output, attempt: Attempt) -> None:
    """Try the stages and print what they will take; the run folder stays as it is.

    Raises:
        HrkdError: Something would be refused, or there is too little memory or disk.
    """
    run = RunFolder(runs_dir / recipe.name)
    with joined(output) as spoken, training_observer(spoken) as observer:
        estimates, speaks = attempt(recipe, run, observer), is_main()
    if not speaks:
        return
    needs = _needs(run.root, estimates)
    low, middle, high = (sum(found.seconds[end] for found in estimates) for end in range(3))
    document = {
        "recipe": recipe.name,
        "seconds": [low, middle, high],
        "stages": [asdict(found) for found in estimates],
        "needs": [asdict(need) | {"fits": need.fits} for need in needs],
    }
    if estimates:
        total = f"all together {duration(middle)} ({duration(low)} to {duration(high)})"
        output.result(document, _table(estimates), total, *map(str, needs))
    else:
        output.result(document, "nothing is left to train")
    for need in needs:
        if not need.fits:
            raise HrkdError(f"too little {need}", hint="docs/training.md says what saves memory and disk")


def try_run(
    recipe: Recipe, run: RunFolder, observer: Observer, *, output: Output, resume: bool, overwrite: bool
) -> list[Estimate]:
    """Check all that `hrkd run` checks, and try its training; export and measurement are not tried."""
    if is_main():
        check_before_work(recipe, run, output, overwrite=overwrite)
    return dry_run_all(recipe, run, observer, resume=resume, overwrite=overwrite)


def _needs(folder: Path, estimates: Sequence[Estimate]) -> list[Need]:
    """Return memory as it was found, and disk as it adds up: checkpoints of one stage at a time, and what stays."""
    staying = sum(found.model_bytes + found.cache_bytes for found in estimates)
    disk = staying + max((found.checkpoint_bytes for found in estimates), default=0)
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    needs = [Need("disk", disk, shutil.disk_usage(existing).free)]
    resident = peak_rss_bytes()
    if resident is not None:
        needs.insert(0, Need("memory", resident, read_limits().memory_bytes or memory_bytes()))
    on_gpu = gpu_memory()
    if on_gpu is not None:
        needs.insert(0, Need("GPU memory", *on_gpu))
    return needs


def _table(estimates: Sequence[Estimate]) -> Table:
    table = Table(title=f"On {estimates[-1].device}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in (
        "stage",
        "steps",
        "texts per step",
        "ms per step",
        "time",
        "95 %",
        "evaluations",
        "checkpoints",
        "cache",
    ):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for found in estimates:
        low, middle, high = map(duration, found.seconds)
        table.add_row(
            found.stage,
            f"{found.steps:,}" + (f", {found.done_steps:,} done" if found.done_steps else ""),
            str(found.texts_per_step) + (f" in {found.micro_batches} parts" if found.micro_batches > 1 else ""),
            f"{1000 * found.step_seconds:.0f}",
            middle,
            f"{low} to {high}",
            f"{found.evaluations} of {duration(found.evaluation_seconds)}",
            size(found.checkpoint_bytes),
            size(found.cache_bytes) if found.cache_bytes else "-",
        )
    return table
