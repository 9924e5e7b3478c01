"""Measurements against what was asked of them: a budget, or an older measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import typer

from hrkd.artifact import write_text
from hrkd_bench.document.schema import read_document
from hrkd_bench.gate.budget import Budget, parse_budget
from hrkd_bench.gate.check import check_budget, refuse_uncountable_drops
from hrkd_bench.gate.findings import (
    Finding,
    findings_document,
    findings_junit,
    findings_markdown,
    findings_table,
    require_all,
)
from hrkd_bench.gate.regression import Allowance, compare_documents
from hrkd_bench.subjects import Subject
from hrkd_cli.measurement_files import Files, read_measurement
from hrkd_cli.output import Output
from hrkd_cli.strays import refuse_stray


@dataclass(frozen=True, slots=True)
class Judge:
    """A budget, parsed before anything is measured.

    Attributes:
        budget: The limits; None where there are none.
        drops_from: Name of the result that drops are counted from; the teacher's when None.
        device: The device whose rows are judged; all rows when None.
    """

    budget: Budget | None
    drops_from: str | None = None
    device: str | None = None

    @classmethod
    def of(cls, limits: str | None, files: Files, *, drops_from: str | None = None, device: str | None = None) -> Self:
        """Parse the limits.

        Raises:
            BudgetError: They cannot be read.
            HrkdError: There are none, but something is given that needs them.
        """
        given = limits is not None
        refuse_stray(files.junit or files.markdown, "--junit and --markdown", "--budget", given=given)
        refuse_stray(drops_from is not None, "--drops-from", "--budget", given=given)
        return cls(None if limits is None else parse_budget(limits), drops_from, device)

    def refuse_uncountable(self, subjects: Sequence[Subject], baselines: Sequence[Subject]) -> None:
        """Refuse limits that no measurement of these could show to hold.

        Raises:
            BudgetError: Drops are limited, and there is nothing to count them from.
        """
        if self.budget is not None:
            refuse_uncountable_drops(self.budget, subjects, baselines, self.drops_from)

    def findings(self, document: Mapping[str, Any]) -> list[Finding]:
        """Check a measurement; nothing is found without a budget."""
        if self.budget is None:
            return []
        return check_budget(self.budget, read_document(document), self.drops_from, device=self.device)


def compare(old: Path, new: Path, output: Output, *, slowdown: str, drop: float, growth: str, files: Files) -> None:
    """Compare two measurements, write and print what was found.

    Raises:
        BudgetMissed: The newer one is worse than allowed.
        BenchError: They cannot be compared.
    """
    files.check_targets()
    allowance = Allowance(slowdown=_share(slowdown), drop=drop / 100, growth=_share(growth))
    older, newer = (read_document(read_measurement(path)) for path in (old, new))
    regression = compare_documents(older, newer, allowance)
    for warning in regression.warnings:
        output.warning(warning)
    write_findings(regression.findings, files, "Comparison")
    document = {"findings": findings_document(regression.findings), "warnings": list(regression.warnings)}
    output.result(document, findings_table(regression.findings, "Comparison"))
    require_all(regression.findings, "the comparison")


def write_findings(findings: list[Finding], files: Files, title: str) -> None:
    """Write the findings for build servers, where that was asked for."""
    if files.junit is not None:
        write_text(files.junit, findings_junit(findings, title))
    if files.markdown is not None:
        write_text(files.markdown, findings_markdown(findings, title))


def _share(text: str) -> float:
    """Read ``3%`` or ``0.03``."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise typer.BadParameter(f"`{text}` is no share: write 3% or 0.03")
    return value
