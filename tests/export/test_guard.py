"""The guard keeps in float what costs a domain too much, and nothing else; where that is not enough it says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hrkd.errors import ExportError
from hrkd_export.guard import Guarded, quantizable_nodes
from hrkd_export.quality import answer
from hrkd_export.quantizers.base import Made, Task
from hrkd_export.session import open_session
from hrkd_export.target import resolve_target
from hrkd_export.texts import GraphTexts


@pytest.fixture(scope="module")
def texts(bert_graph: Path) -> GraphTexts:
    """Texts whose labels are the exact graph's answers: every flip is an error."""
    generator = np.random.default_rng(0)
    ids = tuple(generator.integers(5, 90, generator.integers(4, 20)).tolist() for _ in range(90))
    unlabelled = GraphTexts(ids, np.zeros(90, dtype=np.int64), np.arange(90) % 3, ("a", "b", "c"))
    labels = answer(open_session(bert_graph), unlabelled).argmax(axis=1)
    return GraphTexts(ids, labels, unlabelled.domains, unlabelled.domain_names)


def spoiling(*nodes: str, even_in_float: bool = False):
    """Return a quantiser that turns the sign of some nodes' weights, and records what it was told to keep."""

    def quantize(task: Task, destination: Path) -> Made:
        model = onnx.load(task.source)
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.name in nodes and (even_in_float or node.name not in task.kept_in_float):
                tensor = weights[next(name for name in node.input if name in weights)]
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, destination)
        return Made()

    return quantize


def guarded(texts: GraphTexts, graph: Path, quantizer, limit: float) -> Guarded:
    exact = answer(open_session(graph), texts)
    return Guarded(quantizer, quantizer, "onnxruntime", texts, exact, limit, message=lambda _text: None)


def task(graph: Path) -> Task:
    return Task(graph, resolve_target("avx2"), backend=None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nodes(bert_graph: Path) -> list[str]:
    return [node for node in quantizable_nodes(bert_graph) if "layer" in node]


def test_the_spoilt_node_is_found_and_kept(bert_graph: Path, texts: GraphTexts, nodes: list[str], tmp_path) -> None:
    """Keeping the wrong node costs size and speed and leaves the domain broken."""
    spoilt = nodes[4]
    made, guard = guarded(texts, bert_graph, spoiling(spoilt), 1.0).quantize(task(bert_graph), tmp_path / "out.onnx")
    assert guard.kept_in_float == (spoilt,)
    assert {drop.points for drop in guard.drops.values()} == {0.0}
    assert made == Made()


def test_two_spoilt_nodes_are_kept_step_by_step(
    bert_graph: Path, texts: GraphTexts, nodes: list[str], tmp_path
) -> None:
    """Two faults hide each other from a ranking of single nodes; the guard must go on until the limit holds."""
    spoilt = {nodes[3], nodes[8]}
    _, guard = guarded(texts, bert_graph, spoiling(*spoilt), 0.5).quantize(task(bert_graph), tmp_path / "out.onnx")
    assert spoilt <= set(guard.kept_in_float)
    assert {drop.points for drop in guard.drops.values()} == {0.0}


def test_nothing_is_kept_where_nothing_is_lost(bert_graph: Path, texts: GraphTexts, tmp_path: Path) -> None:
    """A guard that works when it need not makes every bundle larger."""

    def copy(task: Task, destination: Path) -> Made:
        shutil.copyfile(task.source, destination)
        return Made()

    _, guard = guarded(texts, bert_graph, copy, 0.1).quantize(task(bert_graph), tmp_path / "out.onnx")
    assert guard.kept_in_float == ()
    assert guard.limit_points == 0.1


def test_a_limit_that_cannot_be_held_fails_with_the_numbers(
    bert_graph: Path, texts: GraphTexts, nodes: list[str], tmp_path: Path
) -> None:
    """A bundle beyond its limit must not come out as if nothing were wrong."""
    hopeless = guarded(texts, bert_graph, spoiling(*nodes[:6], even_in_float=True), 1.0)
    with pytest.raises(ExportError, match=r"more than 1 points in a domain.*a [+-]\d+\.\d \(.*\), b .*, c "):
        hopeless.quantize(task(bert_graph), tmp_path / "out.onnx")
