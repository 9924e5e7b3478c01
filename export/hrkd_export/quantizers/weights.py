"""fp32 ONNX -> integers in weights alone, in blocks of a few values with a scale each; tensors in the graph stay fp32.

Products quantise their activations block by block themselves (`accuracy_level` 4), so no outlier of a text can spoil
the rest of it, and no calibration is needed. The packing is done here: onnxruntime's own tool needs a package that
onnxruntime does not bring, and stores tables in a type of operator set 21, which it claims without converting the rest
of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel

from hrkd_export.quantizers.base import Made, Task
from hrkd_export.quantizers.workspace import excluded_nodes, save, values_read, workspace

Bits = Literal[4, 8]

BLOCK_SIZE = 32
"""Values of a weight matrix that share a scale. A width that is no multiple of it is filled up (TinyBERT's 312)."""
TABLE_BLOCK_SIZE = 64
"""The same for a table, whose scales would otherwise be a tenth of the file; at 128 answers start to suffer."""
INT8_ACTIVATIONS = 4
"""`accuracy_level` of onnxruntime's blockwise product."""
NARROWEST_TABLE = 16
"""A table of fewer columns is left in float: position biases of a few heads, not worth a scale each."""
DOMAIN = "com.microsoft"


class Blocks(NamedTuple):
    """A quantised matrix.

    Attributes:
        packed: Unsigned values around the middle one (R, blocks, bytes per block); the first of two values that share
            a byte is in its lower half.
        scales: (R, blocks).
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]


def quantize_8_bit(task: Task, destination: Path) -> Made:
    """Quantise weight matrices to blocks of 8 bits, and tables to 8 bits with one scale each.

    Raises:
        ExportError: The library refuses the graph.
    """
    with workspace(task.source, "quantised to 8-bit weights") as space:
        excluded = excluded_nodes(onnx.load(space.source), task)
        quantize_dynamic(
            space.source,
            space.result,
            op_types_to_quantize=["Gather"],  # 8 bits whatever the target: a table is looked up, never multiplied
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
        )
        save(_quantize_products(onnx.load(space.result), 8, excluded), destination)
    return Made()


def quantize_4_bit(task: Task, destination: Path) -> Made:
    """Quantise weight matrices and tables to blocks of 4 bits.

    Raises:
        ExportError: The library refuses the graph.
    """
    with workspace(task.source, "quantised to 4-bit weights") as space:
        model = onnx.load(space.source)
        excluded = excluded_nodes(model, task)
        save(_quantize_tables(_quantize_products(model, 4, excluded), excluded), destination)
    return Made()


def quantize_4_bit_tables(task: Task, destination: Path) -> Made:
    """Quantise tables to blocks of 4 bits, and weight matrices to int8 with activations ranged at run time.

    Raises:
        ExportError: The library refuses the graph.
    """
    with workspace(task.source, "quantised to int8 with 4-bit tables") as space:
        model = onnx.load(space.source)
        excluded = excluded_nodes(model, task)
        onnx.save(_quantize_tables(model, excluded), space.source)
        quantize_dynamic(
            space.source,
            space.result,
            op_types_to_quantize=["MatMul"],
            per_channel=task.target.per_channel,
            reduce_range=task.target.reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(excluded),
            # What comes out of a table's lookup has no type that the library could infer.
            extra_options={"WeightSymmetric": True, "DefaultTensorType": TensorProto.FLOAT},
        )
        save(onnx.load(space.result), destination)
    return Made()


def pack(matrix: NDArray[np.float32], bits: Bits, block_size: int) -> Blocks:
    """Quantise the rows of a matrix in blocks, symmetrically.

    Args:
        matrix: (R, C).
        bits: Of a value.
        block_size: Values that share a scale.
    """
    rows, width = matrix.shape
    blocks, limit = -(-width // block_size), 1 << (bits - 1)
    filled = np.zeros((rows, blocks * block_size), dtype=np.float32)
    filled[:, :width] = matrix
    values = filled.reshape(rows, blocks, block_size)
    lowest, highest = values.min(axis=2), values.max(axis=2)
    # There is one value more below zero than above: the longer side of the range gets it, with a negative scale if so.
    scales = np.where(highest > -lowest, highest, lowest) / np.float32(-limit)
    divisors = np.where(scales == 0, np.float32(1), scales)[:, :, None]
    integers = (np.clip(np.rint(values / divisors), -limit, limit - 1) + limit).astype(np.uint8)
    if bits == 4:
        integers = integers[:, :, 0::2] | np.left_shift(integers[:, :, 1::2], 4, dtype=np.uint8)
    return Blocks(integers, scales.astype(np.float32))


def _quantize_products(model: onnx.ModelProto, bits: Bits, excluded: Collection[str]) -> onnx.ModelProto:
    """Replace products with a weight matrix, in place; the result is the same object."""
    ONNXModel(model).replace_gemm_with_matmul()
    weights = _float_matrices(model)
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" and node.name not in excluded else None
        if weight is None:
            continue
        values, scales = f"{weight.name}_Q{bits}", f"{weight.name}_scales"
        if not _has(model, values):
            blocks = pack(numpy_helper.to_array(weight).T, bits, BLOCK_SIZE)
            model.graph.initializer.append(numpy_helper.from_array(blocks.packed, values))
            model.graph.initializer.append(numpy_helper.from_array(blocks.scales, scales))
        inner, outer = weight.dims
        settings = {
            "K": inner,
            "N": outer,
            "bits": bits,
            "block_size": BLOCK_SIZE,
            "accuracy_level": INT8_ACTIVATIONS,
        }
        _replace(node, "MatMulNBits", [node.input[0], values, scales], settings)
    return _cleaned(model)


def _quantize_tables(model: onnx.ModelProto, excluded: Collection[str]) -> onnx.ModelProto:
    """Replace lookups in a table by ones in blocks of 4 bits, in place; the result is the same object."""
    tables = _float_matrices(model)
    for node in model.graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" and node.name not in excluded else None
        if table is None or table.dims[1] < NARROWEST_TABLE or table.dims[1] % 2 or _picks_columns(node):
            continue
        values, scales = f"{table.name}_Q4", f"{table.name}_scales"
        if not _has(model, values):
            rows, width = table.dims
            blocks = pack(numpy_helper.to_array(table), 4, TABLE_BLOCK_SIZE)
            packed = blocks.packed.reshape(rows, -1)[:, : width // 2]  # a table's rows end without filling
            model.graph.initializer.append(numpy_helper.from_array(packed, values))
            model.graph.initializer.append(numpy_helper.from_array(blocks.scales, scales))
        settings = {"bits": 4, "block_size": TABLE_BLOCK_SIZE, "gather_axis": 0, "quantize_axis": 1}
        _replace(node, "GatherBlockQuantized", [values, node.input[1], scales], settings)
    return _cleaned(model)


def _float_matrices(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Return the fp32 matrices by name."""
    return {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }


def _has(model: onnx.ModelProto, name: str) -> bool:
    return any(tensor.name == name for tensor in model.graph.initializer)


def _replace(node: NodeProto, operator: str, inputs: list[str], settings: Mapping[str, int]) -> None:
    """Turn a node into one of onnxruntime's own, in place."""
    name = f"{node.name}_Q{settings['bits']}"
    made = helper.make_node(operator, inputs, list(node.output), name, domain=DOMAIN)
    made.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(settings.items()))
    node.CopyFrom(made)


def _picks_columns(node: NodeProto) -> bool:
    return any(attribute.name == "axis" and attribute.i != 0 for attribute in node.attribute)


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove weights that no node reads any more and name onnxruntime's operator set, in place."""
    read = {name for node in model.graph.node for name in values_read(node)}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
    ONNXModel(model).set_opset_import(DOMAIN, 1)
    return model
