"""bench.json as others rely on it, and the words of a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.budget_of_cases import share
from fuzz.guard import Arena, refused_or
from fuzz.mutations import HOSTILE_NUMBERS, damaged, damaged_bytes, texts
from hrkd.artifact import read_json
from hrkd_bench.document.schema import read_document
from hrkd_bench.gate.budget import METRICS, UNITS, parse_budget
from hrkd_bench.gate.check import check_budget
from hrkd_bench.gate.findings import findings_document, findings_junit, findings_markdown
from hrkd_bench.gate.regression import compare_documents
from hrkd_bench.report.page import render_report
from hrkd_bench.report.table import bench_table, comparison_lines, domain_table

pytestmark = pytest.mark.filterwarnings("ignore")
SHARE_OF_REPORTS = 40
"""One of so many documents is also drawn as a page, which takes a second."""


@share(0.1)
@given(data=st.data())
def test_a_document_is_read_or_refused(arena: Arena, measurement: dict[str, Any], data: st.DataObject) -> None:
    """Prevents a bench.json of another version or hand from breaking the tables, the gates or the page."""
    as_values = damaged(measurement).map(lambda value: json.dumps(value).encode())
    content = data.draw(st.one_of(as_values, as_values, as_values, damaged_bytes(json.dumps(measurement).encode())))
    with_page = data.draw(st.integers(1, SHARE_OF_REPORTS)) == SHARE_OF_REPORTS
    with arena.case(lambda box: (box / "bench.json").write_bytes(content)):
        value = refused_or(lambda: read_json(Path("bench.json")))
        document = refused_or(lambda: read_document(value)) if isinstance(value, dict) else None
        if document is not None:
            good = read_document(measurement)
            for show in (bench_table, domain_table, comparison_lines):
                refused_or(lambda show=show: show(value))
            for one, other in ((good, document), (document, good)):
                refused_or(lambda one=one, other=other: compare_documents(one, other))
            if with_page:
                refused_or(lambda: render_report(value, Path("report.html")))


units = st.sampled_from([unit for kind in UNITS.values() for unit in kind])
numbers = st.one_of(st.sampled_from(HOSTILE_NUMBERS), st.integers(), st.floats())
limits = st.builds(lambda name, sign, number, unit: f"{name}{sign}{number}{unit}",
                   st.one_of(st.sampled_from(sorted(METRICS)), texts), st.sampled_from(["=", "=", "=", "==", "", "<"]),
                   numbers, st.one_of(units, texts))  # fmt: skip
budgets = st.one_of(st.lists(limits, max_size=4).map(",".join), st.text(max_size=60))


@share(0.1)
@given(text=budgets)
def test_a_budget_is_read_or_refused(arena: Arena, measurement: dict[str, Any], text: str) -> None:
    """Prevents a limit with a slip in it from ending in a traceback, or from being no limit."""
    with arena.case():
        budget = refused_or(lambda: parse_budget(text))
        if budget is not None:
            findings = refused_or(lambda: check_budget(budget, read_document(measurement), None))
            if findings is not None:
                json.dumps(findings_document(findings), allow_nan=False)
                findings_markdown(findings, "budget")
                findings_junit(findings, "budget")
