"""Compute the last layer for the first token only, which is all that the pooler reads.

Keys and values of the last layer need every token; its queries, its feed-forward part and everything behind them need
one row. Logits stay what they were, and of a student's three layers almost one is saved.

The rewriting knows operators, not architectures: it walks back from the selection of the first token, through every
operator whose row 0 follows from row 0 of its input, and selects there instead. At an operator that it does not know
it selects, and stops; that is correct at any place, and merely saves less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from hrkd.engines import INPUTS

ROW_WISE = frozenset(
    {"Add", "Cast", "Div", "Erf", "Gelu", "Identity", "Mul", "Neg", "Pow", "Relu", "Sqrt", "Sub", "Tanh", "Where"}
)
"""Operators that treat every entry alike; inputs of fewer dimensions are aligned at the end."""
ALONG_LAST_AXIS = frozenset({"LayerNormalization", "ReduceMean", "Softmax"})

Shape = tuple[int, ...]
Axis = int | None
"""The axis of which only entry 0 is needed; None: everything is; :data:`NOTHING`: the tensor is not needed at all."""
NOTHING = -1


_PROBES = ((2, 5), (3, 7))
"""Batch sizes and numbers of tokens of the two runs that tell fixed sizes from variable ones."""


def keep_first_token(model: onnx.ModelProto) -> int:
    """Rewrite a graph in place.

    Args:
        model: Plain fp32 graph of a bundle's contract, with a ``Gather`` of token 0 before its pooler.

    Returns:
        How many operators now compute one row instead of all; 0 where the graph does not select the first token.
    """
    return _Rewriting(model, [observe_shapes(model, *probe) for probe in _PROBES]).apply()


def observe_shapes(model: onnx.ModelProto, batch: int, tokens: int) -> dict[str, Shape]:
    """Run a graph once and return the shape of every tensor; inference of symbolic shapes gives up too often."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in known]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    arrays = (np.ones((batch, tokens), dtype=np.int64), np.ones((batch, tokens), dtype=np.int64))
    feeds = dict(zip(INPUTS, (*arrays, np.zeros(batch, dtype=np.int64)), strict=True))
    values = zip(names, session.run(names, feeds), strict=True)
    shapes = {name: tuple(np.shape(value)) for name, value in (*values, *feeds.items())}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


class _Rewriting:
    def __init__(self, model: onnx.ModelProto, shapes: Sequence[Mapping[str, Shape]]) -> None:
        self.graph = model.graph
        self.shapes = shapes
        self.constants = {tensor.name for tensor in model.graph.initializer}
        self.constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
        # For each tensor, what each reader needs of it: (node number, input number) -> axis.
        self.needs: dict[str, dict[tuple[int, int], Axis]] = defaultdict(dict)

    def apply(self) -> int:
        narrowed, dead = self._decide()
        self._reshape(narrowed)
        self._select(narrowed, dead)
        return len(narrowed)

    def _decide(self) -> tuple[set[int], set[int]]:
        """Return the numbers of the nodes that shall compute one row, and of those that nothing needs any more.

        From the last node to the first, so that what all readers need is known.
        """
        narrowed, dead = set(), set()
        for number in range(len(self.graph.node) - 1, -1, -1):
            node = self.graph.node[number]
            axis = self._needed_of(node)
            wanted: list[Axis] = [None] * len(node.input)
            if axis == NOTHING:
                dead.add(number)
                wanted = [NOTHING] * len(node.input)
            elif axis is not None and (found := self._inputs_for(node, axis)):
                narrowed.add(number)
                wanted = found
            elif self._selects_first_token(node):
                wanted = [1, None]
            for position, name in enumerate(node.input):
                self.needs[name][number, position] = wanted[position]
        return narrowed, dead

    def _selects_first_token(self, node: onnx.NodeProto) -> bool:
        """Whether a node takes token 0 of hidden states (B, T, H)."""
        if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1 or self._rank(node.input[0]) != 3:
            return False
        index = self._constant(node.input[1])
        return index is not None and index.shape == () and int(index) == 0

    def _needed_of(self, node: onnx.NodeProto) -> Axis:
        """Return the one axis that all readers of a node's only output agree on."""
        outputs = {output.name for output in self.graph.output}
        if len(node.output) != 1 or node.output[0] in outputs:
            return None
        axes = set(self.needs[node.output[0]].values())
        if axes <= {NOTHING}:
            return NOTHING if axes else None
        axes.discard(NOTHING)
        return axes.pop() if len(axes) == 1 else None

    def _inputs_for(self, node: onnx.NodeProto, axis: int) -> list[Axis] | None:
        """Return what a node needs of each input to compute entry 0 of ``axis``; None for an unknown operator."""
        rank = self._rank(node.output[0])
        if node.op_type in ROW_WISE:
            return [self._aligned(name, axis, rank) for name in node.input]
        if node.op_type in ALONG_LAST_AXIS and axis != rank - 1 and self._reduces_last_axis(node, rank):
            return [axis] + [None] * (len(node.input) - 1)
        if node.op_type == "MatMul" and axis == rank - 2 and self._rank(node.input[0]) == rank:
            return [axis, None]
        if node.op_type == "Transpose":
            return [int(_attribute(node, "perm", [])[axis])]
        if node.op_type == "Reshape" and axis == 1 and self._splits_or_joins_features(node):
            return [1, NOTHING]  # its shape is replaced
        return None

    def _aligned(self, name: str, axis: int, rank: int) -> Axis:
        own = axis - (rank - self._rank(name))
        return own if name not in self.constants and own >= 0 and self._sizes(name, own) != {1} else None

    def _reduces_last_axis(self, node: onnx.NodeProto, rank: int) -> bool:
        axes = _attribute(node, "axes", None) or [_attribute(node, "axis", -1)]
        return [axis % rank for axis in axes] == [rank - 1] and _attribute(node, "keepdims", 1) == 1

    def _splits_or_joins_features(self, node: onnx.NodeProto) -> bool:
        """Whether batch and tokens stay axes 0 and 1, and all axes behind them have fixed sizes."""
        before, after = node.input[0], node.output[0]
        same = all(seen[before][:2] == seen[after][:2] for seen in self.shapes)
        return same and all(len(self._sizes(after, axis)) == 1 for axis in range(2, self._rank(after)))

    def _reshape(self, narrowed: Iterable[int]) -> None:
        """Give reshapes a shape of their own: the computed one names the number of all tokens."""
        for number in narrowed:
            node = self.graph.node[number]
            if node.op_type == "Reshape":
                shape = np.array([0, 0, *self.shapes[0][node.output[0]][2:]], dtype=np.int64)  # 0: as in the input
                node.input[1] = self._add_constant(f"{node.output[0]}_first_token_shape", shape)

    def _select(self, narrowed: set[int], dead: set[int]) -> None:
        """Put a selection before every narrowed node whose input is still computed for all tokens."""
        producers = {name: number for number, node in enumerate(self.graph.node) for name in node.output}
        selections: dict[int, list[onnx.NodeProto]] = defaultdict(list)
        made: dict[tuple[str, int], str] = {}
        for name, readers in list(self.needs.items()):
            for (number, position), axis in readers.items():
                if axis in (None, NOTHING) or number not in narrowed or producers.get(name) in narrowed:
                    continue
                if (name, axis) not in made:
                    made[name, axis] = f"{name}_first_token"
                    selections[producers.get(name, -1)].append(self._slice(name, axis, made[name, axis]))
                self.graph.node[number].input[position] = made[name, axis]
        self._insert(selections, dead)

    def _slice(self, name: str, axis: int, output: str) -> onnx.NodeProto:
        bounds = [
            self._add_constant(f"first_token_{what}_{value}", np.array([value], dtype=np.int64))
            for what, value in (("start", 0), ("end", 1), ("axis", axis))
        ]
        return helper.make_node("Slice", [name, *bounds], [output], name=output)

    def _insert(self, selections: Mapping[int, list[onnx.NodeProto]], dead: set[int]) -> None:
        ordered = [*selections.get(-1, [])]
        for number, node in enumerate(self.graph.node):
            ordered += [] if number in dead else [node]
            ordered += selections.get(number, [])
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def _add_constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.graph.initializer.append(numpy_helper.from_array(value, name))
            self.constants.add(name)
        return name

    def _constant(self, name: str) -> np.ndarray | None:
        for tensor in self.graph.initializer:
            if tensor.name == name:
                return numpy_helper.to_array(tensor)
        for node in self.graph.node:
            if node.op_type == "Constant" and node.output[0] == name:
                return numpy_helper.to_array(node.attribute[0].t)
        return None

    def _rank(self, name: str) -> int:
        return len(self.shapes[0][name])

    def _sizes(self, name: str, axis: int) -> set[int]:
        return {seen[name][axis] for seen in self.shapes}


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)
