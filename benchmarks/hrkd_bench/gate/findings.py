"""What a check found, and how build servers and people read it: JUnit XML, a Markdown table, a table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree

from rich.table import Table
from rich.text import Text

from hrkd import markdown
from hrkd.errors import BudgetMissed


class Outcome(StrEnum):
    """What became of one check."""

    PASS = "PASS"  # noqa: S105 - no password
    MISSED = "MISSED"
    UNKNOWN = "UNKNOWN"
    """Not measured, or measured under conditions that prove nothing; never counts as passed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one subject.

    Attributes:
        subject: What was checked.
        check: Name of the metric.
        outcome: Whether it holds.
        measured: The number for people; ``n/a`` where there is none.
        allowed: The limit for people.
        detail: Margin, interval or the reason why nothing is known.
        value: The number itself, in milliseconds, bytes, fractions or as a ratio; None where there is none.
        limit: The limit in the same unit.
    """

    subject: str
    check: str
    outcome: Outcome
    measured: str
    allowed: str
    detail: str
    value: float | None
    limit: float

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        return f"{self.subject}: {self.check} {self.measured}, {self.allowed} ({self.detail})"


def findings_document(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings for JSON."""
    return [asdict(finding) | {"outcome": finding.outcome.value} for finding in findings]


def findings_table(findings: Sequence[Finding], title: str) -> Table:
    """Return the findings for a terminal; the outcome is a word, so that nothing depends on colour."""
    table = Table(title=title, title_justify="left")
    for name in ("", "check", "measured", "allowed", "outcome", ""):
        table.add_column(name, justify="right" if name in ("measured", "allowed") else "left")
    for finding in findings:
        cells = (finding.subject, finding.check, finding.measured, finding.allowed, finding.outcome, finding.detail)
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table


def findings_markdown(findings: Sequence[Finding], title: str) -> str:
    """Return the findings as a section of GitHub's Markdown."""
    header = ("subject", "check", "measured", "allowed", "outcome", "detail")
    rows = [
        [markdown.escape(cell) for cell in (one.subject, one.check, one.measured, one.allowed, one.outcome, one.detail)]
        for one in findings
    ]
    return f"### {markdown.escape(title)}\n\n{markdown.table(header, rows)}\n"


def findings_junit(findings: Sequence[Finding], title: str) -> str:
    """Return JUnit XML with one test case per finding: missed is a failure, unknown an error."""
    counts = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    totals = {
        "name": markdown.one_line(title),
        "tests": str(len(findings)),
        "failures": str(counts[Outcome.MISSED]),
        "errors": str(counts[Outcome.UNKNOWN]),
    }
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", totals)
    for finding in findings:
        # XML has no way to write a control character, so names of models are cleaned as for Markdown.
        name, subject = markdown.one_line(f"{finding.check} {finding.allowed}"), markdown.one_line(finding.subject)
        case = ElementTree.SubElement(suite, "testcase", {"classname": subject, "name": name})
        if finding.outcome is not Outcome.PASS:
            kind = "failure" if finding.outcome is Outcome.MISSED else "error"
            sentence = markdown.one_line(finding.sentence)
            ElementTree.SubElement(case, kind, {"type": finding.outcome.value, "message": sentence}).text = sentence
    ElementTree.indent(root)
    # The library would name the locale's encoding; files of this project are UTF-8 everywhere.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def require_all(findings: Sequence[Finding], what: str) -> None:
    """Do nothing when everything passed.

    Args:
        findings: Of at least one check.
        what: What was checked, for the message.

    Raises:
        BudgetMissed: Something is missed or unknown; the message names each, and the exit code is 3.
        ValueError: There are no findings: nothing was checked.
    """
    if not findings:
        raise ValueError("nothing was checked")
    missed = [finding.sentence for finding in findings if finding.outcome is Outcome.MISSED]
    unknown = [finding.sentence for finding in findings if finding.outcome is Outcome.UNKNOWN]
    if missed:
        more = f"; not shown to hold: {'; '.join(unknown)}" if unknown else ""
        raise BudgetMissed(f"{what} is missed: {'; '.join(missed)}{more}")
    if unknown:
        raise BudgetMissed(
            f"{what} is not shown to hold: {'; '.join(unknown)}", hint="what is unknown does not count as passed"
        )
