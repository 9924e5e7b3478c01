"""fp32 ONNX -> fp16, for providers that compute in half precision; a CPU runs it as well, but not faster."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx
from onnx import TensorProto

from hrkd_export.quantizers.base import Made, Task
from hrkd_export.quantizers.workspace import save, workspace

INTEGERS = (TensorProto.INT64, TensorProto.INT32)
HEAD_WEIGHT = "head_weight"
"""How the name of the classifier heads' weight ends (hrkd.models)."""


def quantize_half(task: Task, destination: Path) -> Made:
    """Convert everything up to the heads to fp16.

    The heads stay fp32: for an unknown domain they average probabilities and take the logarithm, and what is below
    6e-8 would be an infinite logit in fp16. So does what becomes an integer: the buckets of relative positions (MPNet,
    DeBERTa) are computed with a logarithm, which fp16 would round into the next bucket.

    Raises:
        ExportError: The library refuses the graph.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with workspace(task.source, "converted to fp16") as space:
        model = onnx.load(space.source)
        model = convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=DEFAULT_OP_BLOCK_LIST,
            node_block_list=sorted(task.kept_in_float | _head_nodes(model) | _nodes_of_integers(model)),
        )
        _undo_detours(model)
        save(model, destination)
    return Made()


def _head_nodes(model: onnx.ModelProto) -> set[str]:
    """Return the names of the node that applies the heads and of all nodes behind it."""
    weights = {tensor.name for tensor in model.graph.initializer if tensor.name.endswith(HEAD_WEIGHT)}
    if not weights:
        raise ValueError("the heads' weight is not found")
    reached, names = set(weights), set()
    for node in model.graph.node:  # in an order in which inputs are made before they are used
        if reached & set(node.input):
            names.add(node.name)
            reached |= set(node.output)
    return names


def _nodes_of_integers(model: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes whose results end in a cast to an integer; a shape is where the search ends."""
    makers = {output: node for node in model.graph.node for output in node.output}
    pending = [node for node in model.graph.node if any(_casts_to(node, kind) for kind in INTEGERS)]
    names: set[str] = set()
    while pending:
        node = pending.pop()
        if node.name not in names and node.op_type != "Shape":
            names.add(node.name)
            pending += [makers[name] for name in node.input if name in makers]
    return names


def _undo_detours(model: onnx.ModelProto) -> None:
    """Remove, in place, casts to fp16 whose result is only cast back: they round between two fp32 nodes.

    The library puts a pair of casts around each single node that is to stay fp32.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    makers = {output: node for node in graph.node for output in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {value.name for value in graph.output}
    for back in [node for node in graph.node if _casts_to(node, TensorProto.FLOAT)]:
        forth = makers.get(back.input[0])
        if forth is None or not _casts_to(forth, TensorProto.FLOAT16) or types.get(forth.input[0]) != TensorProto.FLOAT:
            continue
        exact = forth.input[0]
        if back.output[0] in outputs:
            _rename(makers[exact], readers[exact], exact, back.output[0])
        else:
            for reader in readers[back.output[0]]:
                reader.input[:] = [exact if name == back.output[0] else name for name in reader.input]
                readers[exact].append(reader)
        graph.node.remove(back)
    _remove_unread_casts(model)


def _rename(maker: onnx.NodeProto, readers: list[onnx.NodeProto], old: str, new: str) -> None:
    maker.output[:] = [new if name == old else name for name in maker.output]
    for reader in readers:
        reader.input[:] = [new if name == old else name for name in reader.input]


def _remove_unread_casts(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    for node in [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] not in read]:
        model.graph.node.remove(node)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind
