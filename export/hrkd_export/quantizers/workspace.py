"""What the quantisers share: a folder of their own, silence, which nodes they leave alone, and how a graph is saved."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import onnx

from hrkd.errors import ExportError, HrkdError, first_line
from hrkd_export.quantizers.base import Task
from hrkd_export.to_onnx import normalize


class Workspace(NamedTuple):
    """Where a library works: it may write further files beside its input and beside its output.

    Attributes:
        source: A copy of the graph, alone in its folder; weights are read directly, not through an ``Identity``.
        result: To be written; alone in its folder.
    """

    source: Path
    result: Path


@contextmanager
def workspace(source: Path, what: str) -> Iterator[Workspace]:
    """Offer a temporary folder in which a library may fail and talk.

    Args:
        source: Graph to copy there.
        what: What is being done, for the message: ``the graph cannot be {what}``.

    Raises:
        ExportError: Anything that the library raises.
    """
    with TemporaryDirectory(prefix="hrkd-quantize-") as name, quiet_logging():
        space = Workspace(Path(name) / "in" / "model.onnx", Path(name) / "out" / "model.onnx")
        space.source.parent.mkdir()
        space.result.parent.mkdir()
        try:
            model = onnx.load(source)
            _read_weights_directly(model)
            onnx.save(model, space.source)
            yield space
        except HrkdError:
            raise
        except Exception as error:  # these libraries raise assertions and exceptions of their own without a base
            raise ExportError(
                f"the graph cannot be {what}: {first_line(error) or type(error).__name__}",
                hint="choose another quantisation with --quantize",
            ) from error


def save(model: onnx.ModelProto, destination: Path) -> None:
    """Write a finished graph: sorted, valid, and without what varies between runs."""
    sort_nodes(model.graph)
    normalize(model)
    onnx.checker.check_model(model)
    onnx.save(model, destination)


def _read_weights_directly(model: onnx.ModelProto) -> None:
    """Bypass, in place, the ``Identity`` nodes behind which the exporter puts weights that several nodes share.

    No quantiser sees a weight behind one (DeBERTa's position projections).
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    aliases = {}
    for node in [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in weights]:
        aliases[node.output[0]] = node.input[0]
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [aliases.get(name, name) for name in node.input]
    inner = {name for node in model.graph.node for name in values_read(node)}
    for alias in sorted(inner & set(aliases)):  # read inside a branch
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [aliases[alias]], [alias], alias))


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Bring the nodes, in place, into an order in which values are made before they are used.

    onnxruntime's own sort overlooks what the branches of an ``If`` (DeBERTa has some) use from the outside.
    """
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    order: list[int] = []
    placed: set[int] = set()
    for start in range(len(graph.node)):
        pending = [start]
        while pending:
            index = pending[-1]
            missing = {makers[name] for name in values_read(graph.node[index]) if name in makers} - placed - {index}
            if missing and index not in placed:
                pending += sorted(missing, reverse=True)
                continue
            pending.pop()
            if index not in placed:
                placed.add(index)
                order.append(index)
    nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)


def values_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of the values that a node or one of its branches reads."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from values_read(inner)
            yield from (value.name for value in attribute.g.output)


def excluded_nodes(model: onnx.ModelProto, task: Task) -> list[str]:
    """Return the names of the nodes that stay in float, in every form in which a quantiser may meet them.

    onnxruntime replaces Gemm by MatMul and Add before it looks at names, so a Gemm is excluded under both.
    """
    kept = sorted(task.kept_in_float)
    return [*products_of_activations(model), *kept, *(f"{name}_MatMul" for name in kept)]


def products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of the MatMul nodes without a weight: attention scores and their use.

    Their ranges are as wide as the text makes them, and they hold no bytes.
    """
    weights = {initializer.name for initializer in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] not in weights]


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep the libraries' advice away from the user.

    They log through the root logger's module functions, which would also install a handler there for good.
    """
    root = logging.getLogger()
    handler = logging.NullHandler()

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root.addHandler(handler)
    root.addFilter(errors_only)
    try:
        yield
    finally:
        root.removeFilter(errors_only)
        root.removeHandler(handler)
