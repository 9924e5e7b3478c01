"""`hrkd run` with a teacher that the user brings as one classifier per domain."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml
from transformers import BertConfig, BertForSequenceClassification

from hrkd_cli.main import main
from tiny import DOMAINS, make_tokenizer
from tiny_recipe import write_recipe


def make_classifier(folder: Path, encoder: Path, seed: int) -> str:
    """Write a random classifier with the tiny tokenizer."""
    make_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(encoder, id2label={0: "neg", 1: "pos"}, label2id={"neg": 0, "pos": 1})
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_the_loop_ends_without_a_teacher_in_onnx(tiny_data: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    """Such a teacher is no single graph: the run must leave that baseline out, not fail after the distillation."""
    path = write_recipe(tmp_path / "per.yaml", tiny_data, tiny_encoder)
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    adopt = {name: make_classifier(tmp_path / name, tiny_encoder, seed) for seed, name in enumerate(DOMAINS)}
    value |= {"teacher": {"adopt": adopt}, "student": {"layers": 2, "init": "random"}}
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    runs = tmp_path / "runs"
    assert main(["run", str(path), "--runs-dir", str(runs), "--quiet"]) == 0
    document = json.loads((runs / "tiny" / "bench.json").read_text(encoding="utf-8"))
    assert [(row["role"], row["engine"]) for row in document["results"]] == [
        ("teacher", "pytorch"),
        ("student", "pytorch"),
        ("student", "onnxruntime"),
        ("student", "onnxruntime"),
    ]
    bundles = runs / "tiny" / "bundles"
    assert sorted(folder.parent for folder in bundles.rglob("manifest.json")) == [
        bundles / "comparison" / "student-fp32",
        bundles / "int8",
    ]
