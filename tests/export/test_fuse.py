"""Offline fusion: counted from the file, shortfalls said, answers unchanged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier
from hrkd_export.fuse import absorbed_by, count_layers, fuse
from hrkd_export.session import open_session, run_session

SHAPE = {"heads": 4, "hidden_size": 32, "layers": 2}


def logits_of(path: Path) -> np.ndarray:
    session, generator = open_session(path), np.random.default_rng(0)
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5, [1] * 7 + [0] * 2])
    return run_session(session, generator.integers(5, 90, (3, 9)) * mask, mask, np.array([-1, 0, 2]))


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("skip_layer_norm", [False, True])
def test_every_architecture_keeps_its_answers_and_says_what_did_not_fuse(
    exported: tuple[MultiDomainClassifier, Path], tmp_path: Path, skip_layer_norm: bool
) -> None:
    """Prevents a pattern that no longer matches (DistilBERT's attention) from being reported as fused."""
    classifier, path = exported
    report = fuse(path, tmp_path / "fused.onnx", **SHAPE, skip_layer_norm=skip_layer_norm)
    found = operators(tmp_path / "fused.onnx")
    assert dict(report.fusions) == {name: found[name] for name in report.fusions}
    assert found["BiasGelu"] == 2
    assert found["SkipLayerNormalization"] == (4 if skip_layer_norm else 0)
    # The last layer attends from the first token only, a pattern that onnxruntime does not know.
    fused = 0 if classifier.encoder.config.model_type == "distilbert" else 1
    assert found["Attention"] == fused
    assert report.notes == (f"Attention fused in {fused} of 2 places",)
    np.testing.assert_allclose(logits_of(tmp_path / "fused.onnx"), logits_of(path), atol=1e-4)


def test_whole_fusion_needs_no_note(bert_graph: Path, tmp_path: Path) -> None:
    """Prevents a complaint about a graph in which everything that was expected has fused."""
    report = fuse(bert_graph, tmp_path / "fused.onnx", **{**SHAPE, "layers": 1})
    assert report.fusions == {"Attention": 1, "BiasGelu": 2}
    assert report.notes == ()


def test_the_embedding_table_stays_in_reach(bert_graph: Path, tmp_path: Path) -> None:
    """Prevents the embedding layer from being fused, whose table no quantiser touches."""
    fuse(bert_graph, tmp_path / "fused.onnx", **SHAPE)
    model = onnx.load(tmp_path / "fused.onnx")
    assert "EmbedLayerNormalization" not in operators(tmp_path / "fused.onnx")
    tables = [node.input[0] for node in model.graph.node if node.op_type == "Gather"]
    assert any(name.endswith("word_embeddings.weight") for name in tables)


def test_layers_are_counted_without_the_heads(exported: tuple[MultiDomainClassifier, Path]) -> None:
    """Prevents the softmax of the unknown domain from counting as a layer that did not fuse."""
    assert count_layers(onnx.load(exported[1])) == 2


def test_absorbed_nodes_are_found_in_their_layer(bert_graph: Path, tmp_path: Path) -> None:
    """Prevents a matrix that must stay in float from being quantised inside the attention that swallowed it."""
    fuse(bert_graph, tmp_path / "fused.onnx", **SHAPE)
    plain, fused = onnx.load(bert_graph), onnx.load(tmp_path / "fused.onnx")
    (attention,) = (node.name for node in fused.graph.node if node.op_type == "Attention")
    query = "/classifier/encoder/encoder/layer.{}/attention/self/query/MatMul"
    outer = "/classifier/encoder/encoder/layer.0/output/dense/MatMul"
    names = {node.name for node in plain.graph.node}
    assert {query.format(0), query.format(1), outer} <= names
    assert absorbed_by(plain, fused, [outer, query.format(0)]) == [attention]
    assert absorbed_by(plain, fused, [outer, query.format(1)]) == []


def test_same_graph_gives_the_same_bytes(bert_graph: Path, tmp_path: Path) -> None:
    """Prevents set orders or counters from changing the bundle's hash."""
    for name in ("a", "b"):
        fuse(bert_graph, tmp_path / name, **SHAPE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_the_library_raises_becomes_one_sentence(tmp_path: Path) -> None:
    """Prevents a traceback from the optimiser's inside."""
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="cannot be fused"):
        fuse(tmp_path / "broken.onnx", tmp_path / "fused.onnx", **SHAPE)
