"""The budget language, the check of a measurement against it, and how its outcome is told."""

from __future__ import annotations

import copy
from typing import Any
from xml.etree import ElementTree

import pytest

from hrkd.errors import BudgetError, BudgetMissed
from hrkd_bench.document.schema import read_document
from hrkd_bench.gate.budget import METRICS, parse_budget
from hrkd_bench.gate.check import check_budget
from hrkd_bench.gate.findings import (
    Finding,
    Outcome,
    findings_document,
    findings_junit,
    findings_markdown,
    require_all,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("p95=5ms", 5.0),
        ("p50=800us", 0.8),
        ("cold=1s", 1000.0),
        ("size=10MB", 1e7),
        ("size=10 mb", 1e7),  # people write it in any case
        ("rss=128MiB", 128 * 2**20),
        ("accuracy=87.5%", 0.875),
        ("worst-domain-drop=1.0", 0.01),
        ("drop=0", 0.0),  # nothing may be lost
        ("throughput=200/s", 200.0),
    ],
)
def test_a_limit_is_read_in_its_unit(text: str, value: float) -> None:
    """Prevents 10 MB that is checked as 10 bytes, or a point of accuracy that is checked as 100 points."""
    (limit,) = parse_budget(text).limits
    assert limit.value == pytest.approx(value)
    assert limit.metric is METRICS[text.partition("=")[0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("p95=5", "needs one of the units `us`, `ms`, `s`"),
        ("p95=5MB", "needs one of the units"),
        ("accuracy=0.87", "needs one of the units `%`"),
        ("accuracy=870%", "more than 100 %"),
        ("siz=10MB", "did you mean `size`"),
        ("p50", "NAME=LIMIT"),
        ("p50=ms", "no number"),
        ("p50=-1ms", "no number"),
        ("p50=nanms", "no number"),
        ("p50=1e999ms", "no number"),
        ("size=0MB", "no limit"),
        ("p50=1ms,p50=2ms", "stands twice"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    """Prevents a misspelt limit that is never checked, so that every build passes."""
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    assert words in caught.value.message


def test_all_problems_are_told_at_once() -> None:
    """Prevents a user who repairs a budget entry by entry."""
    with pytest.raises(BudgetError) as caught:
        parse_budget("p95=5,siz=10MB")
    assert "`p95=5`" in caught.value.message
    assert "`siz`" in caught.value.message


def outcomes(text: str, document: dict[str, Any], **options: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_budget(parse_budget(text), read_document(document), **options)}


def test_every_limit_is_checked_against_its_own_number(document: dict[str, Any]) -> None:
    """Prevents a limit that looks at another number than it names, or at a baseline."""
    student = next(result for result in document["results"] if not result["is_baseline"])
    student["latency_ms"]["end_to_end"] |= {"p50": 1.0, "p90": 2.0, "p95": 3.0, "p99": 4.0}
    student |= {"cold_start_ms": 500.0, "size_bytes": 6_000_000, "peak_rss_bytes": 7_000_000, "throughput_per_s": 80.0}
    student |= {"agreement_with_teacher": 0.9, "valid": True, "invalid_reasons": []}
    student["accuracy"] |= {"average": 0.85, "worst": 0.7}
    exact = "p50=1ms,p90=2ms,p95=3ms,p99=4ms,cold=500ms,size=6MB,rss=7MB,throughput=80/s"
    exact += ",agreement=90%,accuracy=85%,worst-domain=70%"
    tight = "p50=.99ms,p90=1.9ms,p95=2.9ms,p99=3.9ms,cold=499ms,size=5.9MB,rss=6.9MB,throughput=81/s"
    tight += ",agreement=91%,accuracy=86%,worst-domain=71%"
    passed, missed = outcomes(exact, document), outcomes(tight, document)
    assert len(passed) == len(missed) == 11
    assert {finding.outcome for finding in passed.values()} == {Outcome.PASS}
    assert {finding.outcome for finding in missed.values()} == {Outcome.MISSED}
    assert {finding.subject for finding in passed.values()} == {student["name"]}


def test_drops_are_counted_from_the_baseline_by_domain(document: dict[str, Any]) -> None:
    """Prevents a gain in one domain that hides the loss in another."""
    teacher, student = document["results"]
    teacher["accuracy"]["domains"] = {"books": 0.90, "films": 0.80, "phones": 0.80}
    student["accuracy"]["domains"] = {"books": 0.86, "films": 0.90, "phones": 0.80}
    assert outcomes("worst-domain-drop=3.9", document)["worst-domain-drop"].outcome is Outcome.MISSED
    found = outcomes("worst-domain-drop=4.1", document)["worst-domain-drop"]
    assert found.outcome is Outcome.PASS
    assert found.value == pytest.approx(0.04)
    assert "big" in found.detail


def test_what_was_not_measured_is_unknown(document: dict[str, Any]) -> None:
    """Prevents a percentile without enough samples, or a drop without a baseline, from passing in silence."""
    document["results"][1]["latency_ms"]["end_to_end"]["p99"] = None
    document["results"][1]["peak_rss_bytes"] = None
    document |= {"results": document["results"][1:], "comparisons": [], "chain": []}
    found = outcomes("p99=1s,rss=1GB,drop=50", document)
    assert {finding.outcome for finding in found.values()} == {Outcome.UNKNOWN}
    assert "662" in found["p99"].detail
    assert "--baseline" in found["drop"].detail


def test_an_invalid_measurement_proves_no_latency(document: dict[str, Any]) -> None:
    """Prevents a number that was taken on a disturbed machine from passing or failing a build."""
    document["results"][1] |= {"valid": False, "invalid_reasons": ["stolen"]}
    found = outcomes("p50=1s,size=1GB,accuracy=1%", document)
    assert found["p50"].outcome is Outcome.UNKNOWN
    assert "stolen" in found["p50"].detail
    assert found["size"].outcome is found["accuracy"].outcome is Outcome.PASS


def test_the_rows_of_a_device_are_judged_alone(document: dict[str, Any]) -> None:
    """Prevents a build that fails or passes by the host's times, where the limits are those of the device."""
    rows = copy.deepcopy(document["results"])
    for row in rows:
        row |= {"name": f"{row['name']} @ pi", "device": "pi", "fp32_reference": None}
    rows[1]["size_bytes"], document["results"][1]["size_bytes"] = 1_000_000, 2_000_000
    rows[0]["accuracy"]["average"], rows[1]["accuracy"]["average"] = 0.5, 0.45
    both = read_document({**document, "results": document["results"] + rows, "environments": {}})
    budget = parse_budget("size=1.5MB,drop=5.1")
    found = {finding.check: finding for finding in check_budget(budget, both, device="pi")}
    assert {finding.subject for finding in found.values()} == {"small @ pi"}
    assert {finding.outcome for finding in found.values()} == {Outcome.PASS}
    assert "against big @ pi" in found["drop"].detail
    alone = read_document({**document, "results": [*document["results"], rows[1]], "comparisons": [], "chain": []})
    drops = [finding for finding in check_budget(budget, alone, device="pi") if finding.check == "drop"]
    assert [(drop.subject, drop.outcome) for drop in drops] == [("small @ pi", Outcome.MISSED)]
    assert "against big" in drops[0].detail


def test_a_baseline_that_does_not_exist_is_refused(document: dict[str, Any]) -> None:
    """Prevents a misspelt baseline that is silently replaced by another one."""
    with pytest.raises(BudgetError, match="no result is called `bigg`"):
        outcomes("drop=1", document, baseline="bigg")


def finding(outcome: Outcome, subject: str = "small") -> Finding:
    return Finding(subject, "p95", outcome, "6.0 ms", "at most 5.0 ms", "1.0 ms beyond it", 6.0, 5.0)


def test_only_a_full_pass_ends_well() -> None:
    """Prevents an unknown limit from counting as held; the exit code of a missed budget is 3."""
    require_all([finding(Outcome.PASS)], "the budget")
    for outcome, word in ((Outcome.MISSED, "is missed"), (Outcome.UNKNOWN, "is not shown to hold")):
        with pytest.raises(BudgetMissed, match=word) as caught:
            require_all([finding(Outcome.PASS), finding(outcome)], "the budget")
        assert caught.value.exit_code == 3
    with pytest.raises(ValueError, match="nothing was checked"):
        require_all([], "the budget")


def test_junit_is_one_case_per_limit_and_survives_any_name() -> None:
    """Prevents a build server that shows a broken file, or a green case for a limit that was not measured."""
    hostile = 'a<b>&"\x00\x1b[31m'
    findings = [finding(Outcome.PASS), finding(Outcome.MISSED, hostile), finding(Outcome.UNKNOWN)]
    text = findings_junit(findings, "hrkd <budget>")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    cases = root.findall("testsuite/testcase")
    assert [len(case) for case in cases] == [0, 1, 1]
    assert [case[0].tag for case in cases[1:]] == ["failure", "error"]
    assert root.attrib == {"name": "hrkd <budget>", "tests": "3", "failures": "1", "errors": "1"}
    assert cases[1].get("classname", "").startswith('a<b>&"')
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>')


def test_markdown_shows_names_as_text() -> None:
    """Prevents a model's name from adding a column or a link to a pull request's comment."""
    lines = findings_markdown([finding(Outcome.MISSED, "a|b [x](http://y)")], "Budget").splitlines()
    assert lines[0] == "### Budget"
    assert lines[-1].replace("\\|", "").count("|") == 7
    assert "\\]" in lines[-1]
    assert "http://" not in lines[-1]
    assert "MISSED" in lines[-1]


def test_findings_are_plain_json() -> None:
    """Prevents a document that `--json` cannot print."""
    assert findings_document([finding(Outcome.UNKNOWN)])[0]["outcome"] == "UNKNOWN"
