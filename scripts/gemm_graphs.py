"""Write the graphs whose speed `hrkd bench` takes for the processor's limit: 512 x 512 x 512 in float32 and in int8.

Run after a change of this file: `.venv/bin/python scripts/gemm_graphs.py`. The graphs are package data, because a
device has no `onnx` package to build them with. The weights are one row of numbers that onnxruntime repeats while it
loads the graph: a file of half a kilobyte instead of a megabyte, and a constant that it packs like any model's weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "hrkd_bench" / "gemm_graphs"
SIZE = 512
OPSET, IR_VERSION = 13, 7  # what the oldest supported onnxruntime reads


def gemm(kind: str) -> onnx.ModelProto:
    """Return a graph that multiplies its input with constant weights: `fp32`, or unsigned by signed bytes: `int8`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    integer = kind == "int8"
    row = np.arange(SIZE) % 127 - 63
    weights = row.astype(np.int8) if integer else (row / 64).astype(np.float32)
    constants = {"row": weights[None, :], "repeats": np.asarray([SIZE, 1], dtype=np.int64)}
    nodes = [
        helper.make_node("Tile", ["row", "repeats"], ["weights"]),
        helper.make_node("MatMulInteger" if integer else "MatMul", ["activations", "weights"], ["product"]),
    ]
    given, made = (TensorProto.UINT8, TensorProto.INT32) if integer else (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        nodes,
        f"gemm-{kind}",
        [helper.make_tensor_value_info("activations", given, [SIZE, SIZE])],
        [helper.make_tensor_value_info("product", made, [SIZE, SIZE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Write both graphs."""
    import onnx

    FOLDER.mkdir(exist_ok=True)
    for kind in ("fp32", "int8"):
        onnx.save(gemm(kind), str(FOLDER / f"{kind}.onnx"))


if __name__ == "__main__":
    main()
