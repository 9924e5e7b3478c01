"""From a run folder to the report: what it knows of the domain-relational graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hrkd_cli.report_context import run_context

GRAPH = {
    "schema_version": 1,
    "variant": "meta",
    "domains": ["a", "b"],
    "levels": 2,
    "steps": [1],
    "domain_ratios": [[[0.5, 0.5], [0.25, 0.75]]],
    "hierarchical_ratios": [[[0.5, 0.5], [0.1, 0.9]]],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a recipe and a student's folder."""
    (tmp_path / "student").mkdir()
    (tmp_path / "recipe.yaml").write_text("name: x\n", encoding="utf-8")
    return tmp_path


def test_the_graph_comes_along(run: Path) -> None:
    """Prevents a report without the graph although the file is there."""
    assert not {"graph", "graph_problem"} & set(run_context(run))
    (run / "student" / "graph.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    context = run_context(run)
    assert context["graph"].domain_ratios == GRAPH["domain_ratios"]
    assert "graph_problem" not in context


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        (json.dumps(GRAPH | {"schema_version": 2}), "has schema version 2, this hrkd reads 1; upgrade hrkd"),
        (json.dumps(GRAPH | {"steps": [1, 2]}), "`domain_ratios` has 1 entries, 2 expected"),
    ],
)
def test_a_damaged_graph_is_a_note(run: Path, text: str, message: str) -> None:
    """Prevents `hrkd run` from failing after hours over a file that only a figure needs."""
    (run / "student" / "graph.json").write_text(text, encoding="utf-8")
    context = run_context(run)
    assert "graph" not in context
    assert message in context["graph_problem"]


def test_a_run_called_dot_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a page titled "hrkd run " from a report that is made inside the run's folder."""
    monkeypatch.chdir(run)
    assert run_context(Path())["title"] == f"hrkd run {run.name}"
