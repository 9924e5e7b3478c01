"""The reader of ONNX files that needs no `onnx`: judged against files that the `onnx` package writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from hrkd import bundle_graph
from hrkd.bundle_graph import check_graph
from hrkd.errors import ArtifactError
from tiny_bundle import head_biases, token_weights, write_graph


def external(name: str = "weights", location: str = "../secret.bin") -> TensorProto:
    """Return a tensor whose data lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def only_location() -> TensorProto:
    """Return a tensor that says it is elsewhere, not where."""
    return TensorProto(name="weights", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)


def only_entries() -> TensorProto:
    """Return a tensor that says where it is, not that it is elsewhere."""
    tensor = external()
    tensor.ClearField("data_location")
    return tensor


def inner() -> GraphProto:
    """Return a graph that holds an external tensor."""
    return GraphProto(initializer=[external()])


def model(**fields: object) -> ModelProto:
    """Return a model of a graph with these fields."""
    return helper.make_model(GraphProto(name="g", **fields))


def node(**attributes: object) -> ModelProto:
    """Return a model of one node with these attributes."""
    return model(node=[helper.make_node("Constant", [], ["y"], **attributes)])


def sparse(values: TensorProto, indices: TensorProto) -> TensorProto:
    return helper.make_sparse_tensor(values, indices, [4])


def in_sparse(*, of_attribute: bool) -> ModelProto:
    small = numpy_helper.from_array(np.zeros(1, dtype=np.int64), "indices")
    tensor = sparse(external(), small)
    return node(sparse_value=tensor) if of_attribute else model(sparse_initializer=[tensor])


def in_function() -> ModelProto:
    function = helper.make_function(
        "", "F", [], ["y"], [helper.make_node("Constant", [], ["y"], value=external())], [helper.make_opsetid("", 17)]
    )
    return helper.make_model(GraphProto(name="g"), functions=[function])


def in_training() -> ModelProto:
    value = model()
    value.training_info.add().algorithm.CopyFrom(inner())
    return value


HIDING_PLACES: dict[str, Callable[[], ModelProto]] = {
    "initializer": lambda: model(initializer=[external()]),
    "location only": lambda: model(initializer=[only_location()]),
    "entries only": lambda: model(initializer=[only_entries()]),
    "memory address": lambda: model(initializer=[external(location="*/_ORT_MEM_ADDR_/*")]),
    "constant": lambda: node(value=external()),
    "list of constants": lambda: node(values=[external(), external()]),
    "branch": lambda: model(node=[helper.make_node("If", ["c"], ["y"], then_branch=inner(), else_branch=GraphProto())]),
    "list of graphs": lambda: node(graphs=[GraphProto(), inner()]),
    "sparse initializer": lambda: in_sparse(of_attribute=False),
    "sparse constant": lambda: in_sparse(of_attribute=True),
    "function": in_function,
    "training": in_training,
}


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_external_data_are_found_wherever_they_hide(tmp_path: Path, place: str) -> None:
    """Prevents a bundle that makes the engine open a file of the device, through a place that was not looked at."""
    path = written(tmp_path, HIDING_PLACES[place]().SerializeToString())
    with pytest.raises(ArtifactError, match="'weights' lie outside the file"):
        check_graph(path)


def test_a_second_graph_field_is_looked_at_too(tmp_path: Path) -> None:
    """Prevents two concatenated models, which Protocol Buffers merges, from being judged by the harmless one."""
    harmless, harmful = model(), model(initializer=[external()])
    for first, second in ((harmless, harmful), (harmful, harmless)):
        content = first.SerializeToString() + second.SerializeToString()
        assert ModelProto.FromString(content).graph.initializer[0].external_data
        with pytest.raises(ArtifactError, match="lie outside"):
            check_graph(written(tmp_path, content))


def test_an_overlong_location_is_not_taken_for_zero(tmp_path: Path) -> None:
    """Prevents 2**32 + 1, which readers cut to 1 ("external"), from passing as another number."""
    tensor = TensorProto(name="weights").SerializeToString() + bytes([14 << 3]) + b"\x81\x80\x80\x80\x10"
    graph = bytes([5 << 3 | 2, len(tensor)]) + tensor
    with pytest.raises(ArtifactError, match="lie outside"):
        check_graph(written(tmp_path, bytes([7 << 3 | 2, len(graph)]) + graph))


@pytest.mark.parametrize(
    ("operator", "domain", "fine"),
    [
        ("Add", "", True),
        ("Add", "ai.onnx", True),
        ("MatMulNBits", "com.microsoft", True),
        ("EPContext", "com.microsoft", False),
        ("Add", "com.microsoft.extensions", False),
        ("PyOp", "ai.onnx.contrib", False),
        ("Add", "com.microsoft\x00", False),
    ],
)
def test_only_operators_of_the_engines_pass(tmp_path: Path, operator: str, domain: str, fine: bool) -> None:
    """Prevents a graph that runs other code, or a compiled program from another file, where a library is loaded."""
    path = written(tmp_path, model(node=[helper.make_node(operator, ["x"], ["y"], domain=domain)]).SerializeToString())
    if fine:
        check_graph(path)
    else:
        with pytest.raises(ArtifactError, match="not built into the engines"):
            check_graph(path)


def test_real_graphs_pass_and_their_weights_are_jumped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a check that refuses good bundles, or that reads megabytes of weights byte by byte."""
    path = tmp_path / "model.onnx"
    write_graph(path, token_weights(), head_biases(3), padding_bytes=2_000_000)
    monkeypatch.setattr(bundle_graph, "FIELD_LIMIT", 1000)
    check_graph(path)


def test_a_cut_file_never_ends_in_a_traceback(tmp_path: Path) -> None:
    """Prevents an IndexError, which looks like our bug, for a download that broke off."""
    whole = tmp_path / "whole.onnx"
    write_graph(whole, token_weights(), head_biases(2))
    content = whole.read_bytes()
    problems = [problem_of(written(tmp_path, content[:length])) for length in range(len(content))]
    refused = [problem for problem in problems if problem is not None]
    assert len(refused) > 0.99 * len(content)
    assert all("is not an ONNX file" in problem for problem in refused)


def problem_of(path: Path) -> str | None:
    try:
        check_graph(path)
    except ArtifactError as error:
        return error.message
    return None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\x08\x08", "no graph"),
        (b"graph", "unknown kind of field"),
        (b"<net name=", "unknown kind of field"),
        (b"\x00\x00", "field number 0"),
        (b"\x3a\xff\xff\xff\xff\x7f", "cut off"),
        (b"\x08" + b"\xff" * 20, "overlong"),
        (b"\xfa\xff\xff\xff\xff\x01\x00", "field number"),
    ],
)
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    """Prevents another format under the name model.onnx from reaching an engine that recognises it by its content."""
    with pytest.raises(ArtifactError, match=problem):
        check_graph(written(tmp_path, content))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """Prevents a RecursionError, or a crash of the engine, from a graph in a graph in a graph."""
    graph = b""
    for _ in range(60):
        attribute = bytes([6 << 3 | 2]) + _length(graph) + graph
        inside = bytes([5 << 3 | 2]) + _length(attribute) + attribute
        graph = bytes([1 << 3 | 2]) + _length(inside) + inside
    with pytest.raises(ArtifactError, match="nested deeper"):
        check_graph(written(tmp_path, bytes([7 << 3 | 2]) + _length(graph) + graph))


def test_endless_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents hours of work for a file of a thousand million two-byte fields."""
    monkeypatch.setattr(bundle_graph, "FIELD_LIMIT", 100)
    with pytest.raises(ArtifactError, match="more than 100 fields"):
        check_graph(written(tmp_path, b"\x08\x08" * 101))


def _length(content: bytes) -> bytes:
    value, encoded = len(content), b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
