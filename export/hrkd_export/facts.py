"""What an ONNX file contains, counted from the file itself: operators, versions, and bytes of weights by kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from hrkd.bundle import GraphFacts

FLOAT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
QUANTIZED_TYPES = frozenset({TensorProto.INT8, TensorProto.UINT8})


def read_facts(path: Path) -> GraphFacts:
    """Count what an ONNX file contains."""
    model = onnx.load(path)
    tensors = list(_weights(model))
    return GraphFacts(
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
        ir_version=model.ir_version,
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        quantized_bytes=sum(_size(tensor) for tensor in tensors if tensor.data_type in QUANTIZED_TYPES),
        float_bytes=sum(_size(tensor) for tensor in tensors if tensor.data_type in FLOAT_TYPES),
    )


def large_float_weights(path: Path, above_bytes: int) -> dict[str, int]:
    """Return the size in bytes of every floating-point weight larger than ``above_bytes``, by name.

    An int8 graph should have none above a megabyte: one left behind is most of a small model's size.
    """
    model = onnx.load(path)
    sizes = {tensor.name: _size(tensor) for tensor in _weights(model) if tensor.data_type in FLOAT_TYPES}
    return {name: size for name, size in sizes.items() if size > above_bytes}


def _weights(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield initializers and the tensors that hide in Constant nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t


def _size(tensor: TensorProto) -> int:
    """Return the bytes of a tensor's values."""
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims)) * itemsize
