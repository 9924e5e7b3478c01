"""Computing the last layer for one token: the same answers, and less of the last layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from hrkd.models import MultiDomainClassifier
from hrkd_export.first_token import keep_first_token, observe_shapes
from hrkd_export.session import open_session, run_session


def rows_computed(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Return the number of token rows that each product with a weight is computed for, at 5 and 7 tokens."""
    weights = {tensor.name for tensor in model.graph.initializer}
    seen = [observe_shapes(model, batch, tokens) for batch, tokens in ((2, 5), (3, 7))]
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    return {node.name: {shapes[node.output[0]][1] for shapes in seen} for node in products}


def test_answers_are_those_of_the_model(exported: tuple[MultiDomainClassifier, Path]) -> None:
    """A row taken at the wrong place still gives numbers; padded batches and the unknown domain show it."""
    classifier, path = exported
    generator = np.random.default_rng(0)
    for batch, tokens in ((1, 1), (1, 9), (4, 33), (3, 48)):
        input_ids = generator.integers(5, 90, (batch, tokens))
        mask = np.ones_like(input_ids)
        mask[0, 1 + tokens // 2 :] = 0
        domain_ids = np.arange(batch) % 4 - 1
        with torch.inference_mode():
            inputs = (torch.from_numpy(array) for array in (input_ids, mask, domain_ids))
            expected = classifier(*inputs).logits.numpy()
        np.testing.assert_allclose(run_session(open_session(path), input_ids, mask, domain_ids), expected, atol=1e-5)


def test_the_last_layer_is_computed_for_one_token(exported: tuple[MultiDomainClassifier, Path]) -> None:
    """Where the walk back stops early, nothing fails, and almost a layer's time is lost again."""
    computed = rows_computed(onnx.load(exported[1]))
    one = [name for name, rows in computed.items() if rows == {1}]
    every = [name for name, rows in computed.items() if rows == {5, 7}]
    assert len(one) + len(every) == len(computed)
    # Query, attention output and both of the feed-forward part; DistilBERT's mask may need the scores of all queries.
    assert len(one) in ((3, 4) if any("q_lin" in name for name in computed) else (4,))
    assert sum(any(part in name for part in ("key", "value", "k_lin", "v_lin")) for name in every) == 4


def test_an_unknown_operator_is_a_safe_place_to_stop() -> None:
    """Walking on through an operator that mixes tokens would give other answers."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("CumSum", ["embedded", "axis"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["bent"]),
        helper.make_node("Gather", ["bent", "zero"], ["logits"], axis=1),
    ]
    generator = np.random.default_rng(0)
    model = model_of(nodes, table=generator.normal(size=(10, 3)).astype(np.float32), axis=np.int64(1), zero=np.int64(0))
    expected = run(model)
    assert keep_first_token(model) == 1
    np.testing.assert_array_equal(run(model), expected)
    assert [node.op_type for node in model.graph.node] == ["Gather", "CumSum", "Slice", "Tanh", "Gather"]


def test_a_tensor_that_is_needed_whole_stays_whole() -> None:
    """Narrowing what another branch reads would answer from one token alone."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Tanh", ["embedded"], ["bent"]),
        helper.make_node("ReduceMean", ["bent"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gather", ["bent", "zero"], ["first"], axis=1),
        helper.make_node("Add", ["mean", "first"], ["logits"]),
    ]
    model = model_of(nodes, table=np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32), zero=np.int64(0))
    before = model.SerializeToString()
    assert keep_first_token(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("index", [1, -1])
def test_only_the_first_token_is_meant(index: int) -> None:
    """A model that reads another token must not be given the first one's answer."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Tanh", ["embedded"], ["bent"]),
        helper.make_node("Gather", ["bent", "index"], ["logits"], axis=1),
    ]
    model = model_of(nodes, table=np.eye(10, dtype=np.float32), index=np.int64(index))
    assert keep_first_token(model) == 0


def model_of(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """Return a graph with a bundle's inputs."""
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("domain_id", TensorProto.INT64, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "made", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    input_ids = np.array([[1, 2, 3], [4, 5, 6]])
    feeds = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids), "domain_id": np.zeros(2, dtype=int)}
    return session.run(None, feeds)[0]
