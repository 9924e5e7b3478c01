"""The report's section on the domain-relational graph: that it shows what `graph.json` says, and says what it shows."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from hrkd.errors import ArtifactError, BenchError
from hrkd_bench.document.graph import GraphDocument, read_graph
from hrkd_bench.report import graph_figures
from hrkd_bench.report.graph_figures import averaging_window, ratios_figure, smoothed, weights_figure
from hrkd_bench.report.graph_words import has_weights, introduction, is_fixed, ratios_caption, weights_caption
from hrkd_bench.report.page import render_report

HEADING = "Domain-relational graph"
HOSTILE = "日本語 $\\frac{$ <script>alert('x')</script> & \"q\" {{ 7*7 }}"


def graph_value(
    variant: str = "meta", *, domains: tuple[str, ...] = ("a", "b", "c"), levels: int = 3, steps: int = 40
) -> dict[str, Any]:
    """Return a made graph.json with different numbers everywhere."""
    generator = np.random.default_rng(7)

    def weights(*shape: int) -> Any:
        return generator.dirichlet(np.full(shape[-1], 8.0), size=shape[:-1]).round(6).tolist()

    ratios = weights(steps, levels, len(domains))
    if variant == "uniform":
        ratios = np.full_like(ratios, 1 / len(domains)).round(6).tolist()
    return {
        "schema_version": 1,
        "variant": variant,
        "domains": list(domains),
        "levels": levels,
        "steps": list(range(1, 10 * steps, 10)),
        "domain_ratios": ratios,
        "hierarchical_ratios": [weights(len(domains), level + 1) for level in range(1, levels)],
    }


def graph_of(variant: str = "meta", **shape: Any) -> GraphDocument:
    return read_graph(graph_value(variant, **shape))


def render(document: dict[str, Any], folder: Path, **context: Any) -> str:
    render_report(document, folder / "report.html", context=context)
    return (folder / "report.html").read_text(encoding="utf-8")


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]  # noqa: S314


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn while this fixture is in use."""
    figures: list[Figure] = []
    monkeypatch.setattr(graph_figures, "to_svg", lambda figure, name: figures.append(figure) or name)
    return figures


def test_the_section_has_both_figures_with_captions(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a picture without a word on what it shows, and ids that two figures share."""
    page = render(document, tmp_path, graph=graph_of())
    assert page.count("<svg") == 6
    assert page.count("<figcaption") == 3
    for text in (HEADING, "Domain ratios over training", "Compare-aggregate weights", "trained on held-out batches"):
        assert text in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page == render(document, tmp_path, graph=graph_of())
    assert HEADING not in render(document, tmp_path)


def test_fixed_ratios_take_one_sentence(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a page of flat lines, or `uniform` taken at its word where the ratios are not."""
    page = render(document, tmp_path, graph=graph_of("uniform"))
    assert "fixed at 1/K = 0.333, at every level and in every step" in page
    assert page.count("<svg") == 4
    value = graph_value("uniform")
    value["domain_ratios"][5][1] = [0.4, 0.3, 0.3]
    assert not is_fixed(read_graph(value))
    assert "fixed" not in introduction(read_graph(value))


def test_the_reference_graph_is_called_untrained(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a reader from taking dropout noise for something the graph learned."""
    page = render(document, tmp_path, graph=graph_of("reference"))
    assert "never trained" in page
    assert "dropout noise, not something learned" in page
    assert "drawn at random and never trained" in weights_caption(graph_of("reference"))
    for other in ("meta", "some_later_variant"):
        assert "noise" not in introduction(graph_of(other))
        assert "random" not in weights_caption(graph_of(other))


def test_captions_name_the_right_domain_and_level() -> None:
    """Prevents the largest ratio from being laid at another domain's door."""
    value = graph_value(domains=("cheap", "dear", "old"), steps=40)
    for step in value["domain_ratios"][-4:]:
        step[2], step[0] = [0.1, 0.7, 0.2], [0.49, 0.01, 0.5]
    caption = ratios_caption(read_graph(value))
    assert "Faint: 40 recorded steps; strong: their running mean over 3." in caption
    assert "On average over the last 4 recorded steps the largest ratio is 0.70 (dear, level 2)" in caption
    assert "the smallest 0.01 (dear, level 0)" in caption
    ratios = np.asarray(value["domain_ratios"])
    assert f"Single steps lie between {ratios.min():.2f} and {ratios.max():.2f}." in caption
    value["domain_ratios"] = [[[0.333, 0.333, 0.334]] * 3] * 40
    assert "recorded steps all ratios are within 0.01 of each other" in ratios_caption(read_graph(value))
    short = ratios_caption(graph_of(steps=1))
    assert short.startswith("1 recorded step. In step 1 the largest")
    assert "391, the last" in weights_caption(read_graph(value))


def test_every_line_is_its_domains(drawn: list[Figure]) -> None:
    """Prevents swapped domains or levels, which no reader could notice."""
    graph = graph_of(domains=("a", "b", "c", "d"), levels=3, steps=12)
    ratios_figure(graph)
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["level 0, embeddings", "level 1", "level 2"]
    [legend] = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["1/K = 0.25", "a", "b", "c", "d"]
    for level, axes in enumerate(panels):
        equal, *lines = axes.lines
        assert set(equal.get_ydata()) == {0.25}
        for number, line in enumerate(lines):
            assert list(line.get_xdata()) == graph.steps
            assert line.get_ydata() == pytest.approx([step[level][number] for step in graph.domain_ratios])
            assert line.get_linestyle() == legend.get_lines()[number + 1].get_linestyle()


@pytest.mark.parametrize(("domains", "steps"), [(3, 1), (4, 200), (6, 40), (14, 40)])
def test_domains_can_be_told_apart_without_colour(drawn: list[Figure], domains: int, steps: int) -> None:
    """Prevents two domains with one look, for whoever prints in grey or does not see the colours."""
    ratios_figure(graph_of(domains=tuple(f"d{number}" for number in range(domains)), steps=steps))
    for axes in drawn[0].axes[:3]:
        lines = [line for line in axes.lines if str(line.get_label()).startswith("domain")]
        looks = {(str(line._dash_pattern), line.get_marker()) for line in lines}
        assert len(looks) == len(lines) == domains


def test_every_cell_holds_its_weight(drawn: list[Figure]) -> None:
    """Prevents a transposed heat map, and a tint that disagrees with its number."""
    graph = graph_of(domains=("a", "b"), levels=4)
    weights_figure(graph)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == ["level 1", "level 2", "level 3"]
    for level, axes in enumerate(drawn[0].axes):
        numbers = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
        rows = graph.hierarchical_ratios[level]
        expected = {(k, j): f"{weight:.2f}" for k, row in enumerate(rows) for j, weight in enumerate(row)}
        assert numbers == expected
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
        tints = [patch.get_alpha() for patch in axes.patches]
        assert np.argsort(tints).tolist() == np.argsort(np.concatenate([*rows])).tolist()
        assert max(tints) <= 0.5


def test_equal_or_absent_weights_are_said_not_drawn(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a heat map of the ablations, which would look like a result."""
    value = graph_value()
    page = render(document, tmp_path, graph=read_graph(value | {"hierarchical_ratios": []}))
    assert "without the hierarchy there are no compare-aggregate weights" in page
    assert page.count("<svg") == 5
    equal = [[[round(1 / (level + 1), 6)] * (level + 1)] * 3 for level in (1, 2)]
    graph = read_graph(value | {"hierarchical_ratios": equal})
    assert not has_weights(graph)
    assert "in equal parts" in render(document, tmp_path, graph=graph)


def test_hostile_and_long_names_are_only_names(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents a domain's name from becoming markup, a formula or a template, or from leaving no room to draw."""
    graph = graph_of(HOSTILE, domains=(HOSTILE, "a very long name " * 12, "_hidden"))
    page = render(document, tmp_path, graph=graph)
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    for svg in (ratios_figure(graph), weights_figure(graph)):
        assert {"a very long name a …", "_hidden"} <= set(texts_of(svg))
        assert "var(--ink)" in svg
        assert "#0a0b0" not in svg
        assert "#000000" not in svg


@pytest.mark.parametrize("shape", [{"levels": 1}, {"domains": ("a",)}, {"levels": 13, "steps": 3}, {"steps": 1}])
def test_unusual_shapes_are_drawn(document: dict[str, Any], tmp_path: Path, shape: dict[str, Any]) -> None:
    """Prevents a report that fails, or warns, for one level, one domain, one step or a deep student."""
    assert HEADING in render(document, tmp_path, graph=graph_of(**shape))


def test_the_running_mean_is_one() -> None:
    """Prevents lines that are shifted, or bent at the ends by values that do not exist."""
    values = np.random.default_rng(0).random((40, 2))
    for window in (1, 3, 11):
        half = window // 2
        slow = [values[max(0, place - half) : place + half + 1].mean(axis=0) for place in range(40)]
        assert smoothed(values, window) == pytest.approx(np.asarray(slow))
    assert [averaging_window(steps) for steps in (1, 29, 40, 200)] == [1, 1, 3, 11]


def put(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets one value deep in a document."""

    def change(value: dict[str, Any]) -> None:
        target: Any = value
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = to

    return change


DAMAGES = [
    (put("schema_version", to=2), "schema version 2, this hrkd reads 1"),
    (put("domain_ratios", 3, 1, to=[0.5, 0.5]), r"`domain_ratios.3.1` has 2 entries, 3 expected \(one per domain\)"),
    (put("domain_ratios", 3, to=[[0.2, 0.4, 0.4]]), r"`domain_ratios.3` has 1 entries, 3 expected \(one per level\)"),
    (put("domain_ratios", to=[]), "`domain_ratios` has 0 entries, 40 expected"),
    (put("domain_ratios", 0, 0, to=[0.5, 0.5, 0.5]), "`domain_ratios.0.0` sums to 1.5, not to 1"),
    (put("domain_ratios", 2, 0, 1, to=float("nan")), "`domain_ratios.2.0.1`"),
    (put("domain_ratios", 2, 0, 1, to=-0.1), "`domain_ratios.2.0.1`: Input should be greater than or equal to 0"),
    (put("domain_ratios", 2, 0, 1, to="much"), "`domain_ratios.2.0.1`"),
    (put("steps", 4, to=1), "`steps` has 1 after 31"),
    (put("steps", to=[]), "`steps`"),
    (put("domains", to=["a", "a", "b"]), "`domains` names one twice"),
    (put("levels", to=0), "`levels`"),
    (put("variant", to=None), "`variant`"),
    (put("hierarchical_ratios", to=[[[0.5, 0.5]] * 3]), "`hierarchical_ratios` has 1 entries, 2 expected"),
    (put("hierarchical_ratios", 1, to=[[0.2, 0.3, 0.5]]), r"`hierarchical_ratios.1` has 1 entries, 3 expected"),
    (put("hierarchical_ratios", 1, 2, to=[0.5, 0.5]), r"2 entries, 3 expected \(levels 0 to 2\)"),
    (put("hierarchical_ratios", 0, 0, to=[0.5, 0.4]), "`hierarchical_ratios.0.0` sums to 0.9, not to 1"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_named(damage: Callable[[dict[str, Any]], None], message: str) -> None:
    """Prevents a figure of half a file, and an error that does not say where to look."""
    value = graph_value()
    read_graph(copy.deepcopy(value))
    damage(value)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_graph(value)
    assert "--overwrite" in str(caught.value.hint)


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_something_else_is_no_graph(value: Any) -> None:
    """Prevents a bare KeyError for a file that happens to have the name."""
    with pytest.raises(ArtifactError, match="schema version None"):
        read_graph(value)


def test_a_damaged_file_costs_the_section_not_the_report(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents an hour's measurement from ending without a page because of one bad file beside it."""
    page = render(document, tmp_path, graph_problem="`graph.json` is damaged: <b>")
    assert "Note: not shown, `graph.json` is damaged: &lt;b&gt;." in page
    assert page.count("<svg") == 4
    with pytest.raises(BenchError, match="not a GraphDocument"):
        render(document, tmp_path, graph=json.loads("{}"))
