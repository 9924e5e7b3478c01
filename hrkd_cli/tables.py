"""rich tables of results that have no table of their own library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hrkd.artifact import StageRecord
    from hrkd.data.check import DataReport
    from hrkd.evaluation import Evaluation
    from hrkd_cli.doctor.finding import Finding


def stage_table(record: StageRecord) -> Table:
    """Return validation and test accuracy per domain of a finished training stage."""
    splits = {name: record.details[name] for name in ("validation", "test") if name in record.details}
    table = _score_table(f"{record.stage}: accuracy in %", list(splits))
    _add_domain_rows(table, splits)
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return accuracy and macro-F1 per domain."""
    table = _score_table(f"{evaluation.examples} texts, in %", ["accuracy", "macro-F1"])
    _add_domain_rows(table, {"accuracy": evaluation.accuracy.domains, "macro-F1": evaluation.macro_f1.domains})
    return table


def evaluation_summary(evaluation: Evaluation) -> str:
    """Say the average accuracy with its interval, and the agreement with the teacher where it is known."""
    interval = evaluation.interval
    summary = f"average accuracy {_percent(interval.value)} %, 95 % interval {_percent(interval.low)} to "
    summary += f"{_percent(interval.high)} %"
    if evaluation.agreement_with_teacher is not None:
        summary += f"; agreement with the teacher {_percent(evaluation.agreement_with_teacher)} %"
    return summary


def data_table(report: DataReport) -> Table:
    """Return one row per domain and split."""
    hidden = [f"{report.length_unit} {percentile}" for percentile in ("p90", "p99")]
    rows = [{name: cell for name, cell in row.items() if name not in hidden} for row in report.to_rows()]
    title = Text(f"{report.source}: {report.size} examples", style="table.title")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        table.add_column(Text(name), justify="left" if name in ("domain", "split") else "right")
    for number, row in enumerate(rows):
        new_domain = number + 1 < len(rows) and rows[number + 1]["domain"] != row["domain"]
        table.add_row(*(Text(str(cell)) for cell in row.values()), end_section=new_domain)
    return table


def _score_table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("domain")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _add_domain_rows(table: Table, columns: Mapping[str, Mapping[str, float]]) -> None:
    domains = list(dict.fromkeys(domain for scores in columns.values() for domain in scores))
    for domain in domains:
        cells = (_percent(scores[domain]) if domain in scores else "-" for scores in columns.values())
        table.add_row(Text(domain), *cells)
    table.add_section()
    table.add_row("average", *(_percent(sum(scores.values()) / len(scores)) for scores in columns.values()))
    table.add_row("worst", *(_percent(min(scores.values())) for scores in columns.values()))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return what `hrkd doctor` found, with what to do on lines of their own."""
    table = Table("", "", "", box=box.SIMPLE, show_header=False)
    for finding in findings:
        table.add_row(finding.status, Text(finding.topic), Text(finding.text))
        if finding.hint:
            table.add_row("", "", Text(f"-> {finding.hint}"))
    return table
