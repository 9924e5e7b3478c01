"""`hrkd run` with what the demo does not use: a narrower student, relations, a graph that learns, stages."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from hrkd_cli.main import main
from tiny_recipe import write_recipe


def test_a_pruned_student_with_a_learning_graph_goes_through_the_whole_loop(
    tiny_data: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Each part is tested alone; only together do they meet the pre-flight checks, the export and the report."""
    path = write_recipe(tmp_path / "all.yaml", tiny_data, tiny_encoder)
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    value["student"] = {
        "layers": 2,
        "hidden_size": 24,
        "attention_heads": 3,
        "init": "pruned_teacher",
        "general": {"epochs": 0.5, "precision": "fp32"},
    }
    value["method"] = {
        "graph": {"variant": "meta", "update_every": 2},
        "attention": "relations",
        "attention_weight": 0.1,
        "relation_heads": 4,
        "phases": [{"until": 0.5, "prediction_weight": 0.0}, {"until": 1.0}],
    }
    value["training"]["cache_teacher"] = True
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    runs = tmp_path / "runs"
    assert main(["run", str(path), "--runs-dir", str(runs), "--quiet"]) == 0
    graph = json.loads((runs / "tiny" / "student" / "graph.json").read_text(encoding="utf-8"))
    assert graph["variant"] == "meta"
    assert graph["domain_ratios"][0] != graph["domain_ratios"][-1]
    document = json.loads((runs / "tiny" / "bench.json").read_text(encoding="utf-8"))
    sizes = {row["role"]: row["size_bytes"] for row in document["results"]}
    assert sizes["student"] < sizes["teacher"]
    page = (runs / "tiny" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Domain-relational graph</h2>" in page
    assert "Note: not shown" not in page
