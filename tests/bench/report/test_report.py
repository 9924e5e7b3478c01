"""The tables and the report page: that they say what the document says, whatever names it contains."""

from __future__ import annotations

import copy
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from hrkd.errors import ArtifactError, BenchError, MissingExtraError
from hrkd_bench.claims.words import cold_start, headline, milliseconds, missing_percentiles, points, protocol_of, size
from hrkd_bench.device.merge import with_device
from hrkd_bench.document.schema import Percentiles, read_document
from hrkd_bench.report.figures import accuracy_figure, latency_figure, size_figure
from hrkd_bench.report.page import render_report
from hrkd_bench.report.table import bench_table, comparison_lines, domain_table

HOSTILE = "日本語 $\\frac{$ <script>alert('x')</script> & \"q\" [red]{{ 7*7 }}"


class Tags(HTMLParser):
    """Collects the tags, ids and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        for name in ("src", "href", "xlink:href", "action"):
            if values.get(name):
                self.addresses.append(str(values[name]))


def rename(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Give a subject, a domain, the command and an environment field a hostile name."""
    student = document["results"][1]
    for comparison in (*document["comparisons"], *document["chain"]):
        comparison["subject"] = name
        for row in comparison["domains"]:
            row["domain"] = name if row["domain"] == "books" else row["domain"]
    student["name"] = name
    for result in document["results"]:
        for table in (result["accuracy"]["domains"], result["accuracy"]["domain_intervals"]):
            table[name] = table.pop("books")
        result["accuracy"]["worst_domain"] = name
    document["texts"]["domains"][name] = document["texts"]["domains"].pop("books")
    document["environment"]["cpu"] = name
    document["command"] = ["hrkd", "bench", name]
    return document


def render(document: dict[str, Any], folder: Path, **context: Any) -> str:
    render_report(document, folder / "report.html", context=context)
    return (folder / "report.html").read_text(encoding="utf-8")


def printed(*renderables: Any) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return capture.get()


def test_report_is_self_contained(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a page that loads something from elsewhere: it must open on a device without a network."""
    curve = [{"step": 0, "average": 0.5}, {"step": 10, "average": 0.8}]
    page = render(document, tmp_path, title="My run", recipe="name: demo\n", training_curve=curve)
    parsed = Tags(page)
    assert {"script", "link", "img", "iframe"}.isdisjoint(parsed.tags)
    assert parsed.tags.count("svg") == 5
    assert parsed.addresses
    assert all(address.startswith("#") for address in parsed.addresses)
    assert {address[1:] for address in parsed.addresses} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "@import" not in page
    for text in ("My run", "name: demo", "big", "small", document["results"][0]["model_sha256"], "films"):
        assert text in page
    assert "INVALID" not in page or not document["results"][0]["valid"]


def test_the_worst_domain_of_what_is_shipped_comes_first(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents the domain that suffers from standing where nobody looks."""
    accuracy = document["results"][-1]["accuracy"]
    accuracy["domains"] |= {"books": 0.7, "films": 0.9, "phones": 0.2}
    accuracy["domain_intervals"] |= dict.fromkeys(("books", "films", "phones"), (0.0, 1.0))
    for text in (render(document, tmp_path).partition("<h2>Accuracy</h2>")[2], printed(domain_table(document))):
        places = [text.index(domain) for domain in ("phones", "books", "films")]
        assert places == sorted(places)


def test_every_device_is_described(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents numbers of a board from standing beside the description of another machine only."""
    document["environments"] = {"shelf": {**document["environment"], "cpu": "Cortex-A76"}}
    assert "<dt>shelf</dt><dd>Cortex-A76" in render(document, tmp_path)


def test_a_cold_start_is_counted_and_told_as_it_was(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents the number of starts that was asked for, and words of a process, from describing one opened page."""
    for result in document["results"]:
        result["cold_start"]["samples_ms"] = [5.0]
    assert "a fresh process to its first answer, files in the page cache, once." in render(document, tmp_path)
    first = read_document(document)
    browser = first.model_copy(update={"browser": object()})
    assert cold_start(browser, first.results[0]).startswith("from opening a fresh page")


def test_each_interval_of_a_step_says_what_it_rests_on(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents an interval of speed, which is Student's over rounds, from being read as one over paired texts."""
    for comparison in document["comparisons"]:
        comparison["verdict"] = "FASTER"
    steps = render(document, tmp_path).partition("<h2>Step by step</h2>")[2].partition("</section>")[0]
    assert "accuracy: paired by text. Speed: the median over texts, each against itself; Student&#39;s, over" in steps


def test_a_device_does_not_stand_under_this_machines_limits(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a board that measured everything, unlimited, from being read as one under the host's profile."""
    profile = {"name": "1-core", "label": "one core", "cpus": [0], "quota": None, "memory_bytes": None}
    document["profile"] = profile | {"method": None, "threads": 1}
    other = copy.deepcopy(document) | {"profile": None, "roofline": {"fp32_per_s": 4e9, "int8_per_s": 9e9}}
    other["config"]["rounds"] = 7
    assert "under `1-core`: one core" in printed(bench_table(document))
    merged = with_device(document, other, "shelf")
    page = render(merged, tmp_path)
    assert "measured with rounds 7; without the limits of this machine&#39;s; peak of one thread 9 billion" in page
    assert "under `1-core` on this machine alone: one core" in " ".join(printed(bench_table(merged)).split())
    assert protocol_of(read_document(with_device(document, document, "twin")), "twin") == (
        "measured likewise; under `1-core`"
    )
    del merged["protocols"]
    assert protocol_of(read_document(merged), "shelf") == "how it measured was not kept"


@pytest.mark.parametrize("stripped", [[0, 1], [1]])
def test_a_document_without_its_times_has_no_figure_of_them(
    document: dict[str, Any], tmp_path: Path, stripped: list[int]
) -> None:
    """Prevents a traceback for a document that is stored without its times, and a figure that lacks a model unsaid."""
    assert "How long one text takes" in render(document, tmp_path)
    for number in stripped:
        document["results"][number] |= {"samples_ms": [], "samples": None}
    page = render(document, tmp_path)
    assert "How long one text takes" not in page
    assert "Size on disk" in page


def test_report_is_the_same_every_time(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents dates and random ids in the figures, which would make every report differ."""
    assert render(document, tmp_path) == render(document, tmp_path)


def test_hostile_names_are_escaped(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a domain's name from becoming markup, a formula, a template, or a script on the reader's machine."""
    page = render(rename(document, HOSTILE), tmp_path, title=HOSTILE, recipe=HOSTILE, provenance={HOSTILE: HOSTILE})
    parsed = Tags(page)
    assert "script" not in parsed.tags
    assert "<script" not in page
    assert page.count("{{ 7*7 }}") > 8
    assert "日本語" in page


def test_figures_are_valid_xml_without_matplotlibs_colours(document: dict[str, Any]) -> None:
    """Prevents a figure that browsers drop, or that stays black on a dark page."""
    parsed = read_document(rename(document, HOSTILE))
    domains = list(parsed.texts.domains)
    for svg in (accuracy_figure(parsed.results, domains), latency_figure(parsed.results), size_figure(parsed.results)):
        texts = " ".join(element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("}text"))  # noqa: S314 - our own
        assert "日本語" in texts
        assert "var(--series-1)" in svg
        assert "var(--ink)" in svg
        assert "#0a0b0" not in svg
        assert "#000000" not in svg


def test_long_names_leave_room_for_the_plot(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a plot squeezed to nothing by names; matplotlib only warns, which is an error here."""
    name = "a very long name " * 12
    page = render(rename(document, name), tmp_path)
    assert "a very long name a …" in page
    assert name in page


def test_invalid_runs_are_marked_everywhere(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a disturbed measurement from being quoted because its mark is easy to miss."""
    for result in document["results"]:
        result |= {"valid": False, "invalid_reasons": ["the neighbours took it"]}
    page = render(document, tmp_path)
    assert page.count("INVALID") >= 4
    assert page.count("the neighbours took it") == 1
    table = printed(bench_table(document))
    assert "small (onnxruntime, int8) INVALID" in table
    assert "INVALID: the neighbours took it" in " ".join(table.split())


def test_tables_say_what_the_document_says(document: dict[str, Any]) -> None:
    """Prevents a number under the wrong heading."""
    student = document["results"][1]
    student["latency_ms"]["end_to_end"] |= {"p50": 1.25, "p95": 3.5, "p99": None}
    student |= {"size_bytes": 17_600_000, "cold_start_ms": 1234.0, "peak_rss_bytes": 123_000_000}
    student["accuracy"] |= {"average": 0.801, "worst": 0.7, "worst_domain": "films"}
    rows = printed(bench_table(document)).splitlines()
    [row] = [line for line in rows if "small" in line]
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[1:8] == ["17.6 MB", "1.25 ms", "3.50 ms", "n/a", "1.23 s", "123 MB", "80.1 %"]
    assert cells[8] == "70.0 % (films)"
    document["results"][0]["accuracy"]["domains"]["films"] = 0.95
    student["accuracy"]["domains"]["films"] = 0.7
    [row] = [line for line in printed(domain_table(document)).splitlines() if "films" in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["films", "50", "95.0 %", "70.0 % (-25.0)"]


def test_names_are_not_terminal_markup(document: dict[str, Any]) -> None:
    """Prevents a bundle called `[red]` from colouring, or breaking, the table."""
    text = printed(bench_table(rename(document, "a[red]b")), domain_table(document))
    assert text.count("a[red]b") == 5
    assert any(line.startswith("│ a[red]b ") for line in text.splitlines()[-8:])


def test_comparison_in_words(document: dict[str, Any]) -> None:
    """Prevents "faster" for slower, "smaller" for larger, and a loss without its interval."""
    comparison = document["comparisons"][0]
    comparison |= {
        "size_ratio": 5.2,
        "speedup_p50": {"value": 9.8, "low": 9.5, "high": 10.1},
        "accuracy_difference": {"value": -0.033, "low": -0.041, "high": -0.025},
        "retained_accuracy": 0.964,
        "verdict": "FASTER",
    }
    assert comparison_lines(document) == [
        "small (onnxruntime, int8) against big (onnxruntime, fp32): 5.2x smaller, 9.8x faster (9.5 to 10.1) text by "
        "text, keeps 96.4 % of the teacher's average accuracy (-3.3 points, 95 % interval -4.1 to -2.5)"
    ]
    comparison |= {"size_ratio": 0.5, "speedup_p50": {"value": 0.5, "low": 0.4, "high": 0.8}, "retained_accuracy": None}
    comparison["verdict"] = "SLOWER"
    document["results"][0]["role"] = "student"
    [line] = comparison_lines(document)
    assert "2.0x larger, 2.0x slower (1.2 to 2.5) text by text, average accuracy -3.3 points" in line
    comparison |= {"size_ratio": 1.01, "speedup_p50": {"value": 0.99, "low": 0.9, "high": 1.1}}
    comparison["verdict"] = "NOT SIGNIFICANT"
    assert "the same size, no significant difference in speed (0.90 to 1.10x)" in comparison_lines(document)[0]


def test_a_comparison_of_a_stranger_is_refused(document: dict[str, Any]) -> None:
    """Prevents a traceback while the report of a document is drawn that somebody cut by hand."""
    document["results"] = document["results"][:1]
    with pytest.raises(ArtifactError, match="compares `small`, which it does not hold"):
        read_document(document)


def test_a_small_certain_gain_is_told_with_two_decimals(document: dict[str, Any]) -> None:
    """Prevents "1.0x faster (1.0 to 1.1)", which says nothing."""
    gain = {"speedup_p50": {"value": 1.06, "low": 1.04, "high": 1.08}, "verdict": "FASTER"}
    document["comparisons"][0] |= gain
    assert "1.06x faster (1.04 to 1.08) text by text" in comparison_lines(document)[0]


def test_headline_without_a_baseline(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a report that cannot be made for a single bundle."""
    document |= {"comparisons": [], "chain": [], "results": document["results"][:1]}
    assert headline(read_document(document)).startswith("big (onnxruntime, fp32): 0.4 MB, ")
    assert "In words" not in render(document, tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (0.0414, "0.041 ms"), (0.81, "0.81 ms"), (12.34, "12.3 ms"), (356.8, "357 ms"), (3865.0, "3.87 s")],
)
def test_milliseconds(value: float | None, text: str) -> None:
    """Prevents a wrong unit, the most expensive kind of rounding."""
    assert milliseconds(value) == text


def test_sizes_and_points() -> None:
    """Prevents a wrong unit, and "-0.0 points"."""
    assert [size(value) for value in (None, 99, 17_600_000, 537_649_152, 25_276_510_208)] == [
        "n/a",
        "< 0.1 MB",
        "17.6 MB",
        "538 MB",
        "25.3 GB",
    ]
    assert [points(value) for value in (-0.0001, 0.0001, -0.033, 0.012)] == ["0.0", "0.0", "-3.3", "+1.2"]


def test_left_out_percentiles_are_explained() -> None:
    """Prevents an "n/a" that looks like a failure."""
    few = Percentiles(p50=1, p90=1, p95=None, p99=None, mean=1, max=1, n=100)
    assert missing_percentiles(few) == "p95 and p99 need at least 130 and 662 answers, here are 100"
    some = few.model_copy(update={"p95": 1.0})
    assert missing_percentiles(some) == "p99 needs at least 662 answers, here are 100"
    assert missing_percentiles(some.model_copy(update={"p99": 1.0})) == ""


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_missing_libraries_name_the_extra(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """Prevents a bare import error after minutes of measuring, and half a page."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError) as caught:
        render(document, tmp_path)
    assert "hrkd[report]" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_bad_context_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a misspelt section from silently missing in the report."""
    with pytest.raises(BenchError, match="section_x"):
        render(document, tmp_path, section_x="name: demo")
    with pytest.raises(BenchError, match="training_curve"):
        render(document, tmp_path, training_curve=[{"step": 1}])
    with pytest.raises(ArtifactError, match="schema version"):
        render(document | {"schema_version": 9}, tmp_path)
