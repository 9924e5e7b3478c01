"""Fusing a graph offline: several small operators become one of onnxruntime's own.

A fusion is a pattern match that may silently fail, so what became of each one is counted from the written file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from hrkd_export.quantizers.workspace import workspace

ATTENTION_OPERATORS = ("Attention", "MultiHeadAttention")
FUSED_OPERATORS = (
    *ATTENTION_OPERATORS,
    "BiasGelu",
    "EmbedLayerNormalization",
    "FastGelu",
    "Gelu",
    "SkipLayerNormalization",
)


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What became of a graph.

    Attributes:
        fusions: Number of nodes of each fused operator in the file.
        notes: What was expected and is missing, one sentence each.
    """

    fusions: Mapping[str, int]
    notes: tuple[str, ...]


def fuse(
    source: Path, destination: Path, heads: int, hidden_size: int, layers: int, *, skip_layer_norm: bool = False
) -> FusionReport:
    """Write a fused copy of a plain fp32 graph, made of operators that every CPU build of onnxruntime has.

    The embedding layer is left in parts, because its fused form hides the table from the quantisers.

    Args:
        source: Plain graph of :mod:`hrkd_export.to_onnx`.
        destination: File to write; not valid ONNX without onnxruntime's own operators.
        heads: Attention heads of the encoder.
        hidden_size: Width of the encoder.
        layers: Layers of the encoder.
        skip_layer_norm: Whether an addition and the layer norm behind it become one operator, which on x86 CPUs is
            slower than the two (docs/log.md).

    Raises:
        ExportError: The library refuses the graph.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = skip_layer_norm
    with workspace(source, "fused") as space:
        # Level 0: onnxruntime's own optimiser, whose result depends on this machine, stays out of it.
        optimized = optimize_model(
            onnx.load(space.source), "bert", heads, hidden_size, optimization_options=options, opt_level=0
        )
        optimized.save_model_to_file(str(space.result))
        model = onnx.load(space.result)
        onnx.checker.check_model(model)
        expected = {ATTENTION_OPERATORS: layers, ("BiasGelu", "Gelu", "FastGelu"): _count(space.source, "Erf")}
        if skip_layer_norm:
            expected[("SkipLayerNormalization",)] = 2 * layers
    onnx.save(model, destination)
    found = Counter(node.op_type for node in model.graph.node if node.op_type in FUSED_OPERATORS)
    return FusionReport(dict(sorted(found.items())), _shortfalls(found, expected))


def count_layers(model: onnx.ModelProto) -> int:
    """Return the number of attention layers of a plain graph: its softmaxes, less the one of the heads."""
    averaged = {node.input[0] for node in model.graph.node if node.op_type == "ReduceMean"}
    return sum(node.op_type == "Softmax" and node.output[0] not in averaged for node in model.graph.node)


def absorbed_by(plain: onnx.ModelProto, fused: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Return the fused nodes into which nodes of the plain graph have vanished.

    Args:
        plain: Graph before fusing.
        fused: Graph after it.
        names: Nodes of the plain graph.
    """
    lost = set(names) - {node.name for node in fused.graph.node}
    makers = {output: node for node in plain.graph.node for output in node.output}
    holders = []
    for node in fused.graph.node:
        if lost and node.op_type in FUSED_OPERATORS:
            region, pending = set(), [output for output in node.output if output]
            while pending:
                maker = makers.get(pending.pop())
                if maker is not None and maker.name not in region:
                    region.add(maker.name)
                    pending += [name for name in maker.input if name not in node.input]
            if region & lost:
                holders.append(node.name)
    return holders


def _count(path: Path, operator: str) -> int:
    return sum(node.op_type == operator for node in onnx.load(path).graph.node)


def _shortfalls(found: Mapping[str, int], expected: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    notes = []
    for operators, wanted in expected.items():
        number = sum(found.get(operator, 0) for operator in operators)
        if number < wanted:
            notes.append(f"{operators[0]} fused in {number} of {wanted} places")
    return tuple(notes)
