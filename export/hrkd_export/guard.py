"""The accuracy guard: quantise, measure every domain, and keep in float what costs the worst one too much.

The nodes that matter are found by taking each one back to float alone and asking how much closer the breaching
domain's answers come to the fp32 graph's. That needs no labels and tells nodes apart where accuracy on a few hundred
texts does not; whether the limit holds is then decided on accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from hrkd.bundle import Drop, Guard
from hrkd.engines import Engine, Logits
from hrkd.errors import ExportError
from hrkd_export.quality import answer, divergence, drops
from hrkd_export.quantizers.base import Made, Quantizer, Task
from hrkd_export.session import open_session
from hrkd_export.texts import GraphTexts

SENSITIVITY_TEXTS = 200
"""Texts of the breaching domain on which nodes are ranked."""
QUANTIZED_OPERATORS = frozenset({"MatMul", "Gemm", "Gather"})


@dataclass(frozen=True, slots=True)
class Guarded:
    """Quantises under a limit.

    Attributes:
        quantizer: The way of quantising.
        ranking: The quantiser that ranks nodes, which makes one graph per node; its results run on onnxruntime.
        engine: What will run the graph.
        texts: Validation texts.
        exact: Logits of the fp32 graph on them (n, C).
        limit: Points that any domain may lose.
        message: Receives one line per step.
    """

    quantizer: Quantizer
    ranking: Quantizer
    engine: Engine
    texts: GraphTexts
    exact: Logits
    limit: float
    message: Callable[[str], None]

    def quantize(self, task: Task, destination: Path) -> tuple[Made, Guard]:
        """Write the graph with the fewest nodes in float for which every domain stays within the limit.

        Raises:
            ExportError: The limit cannot be held, with the numbers.
        """
        made = self.quantizer(task, destination)
        lost = self._measure(destination)
        ranked: list[str] = []
        kept: tuple[str, ...] = ()
        while (worst := _worst(lost)) and lost[worst].points > self.limit:
            self.message(f"guard: {worst} loses {lost[worst].points:.1f} points, limit {self.limit:g}")
            ranked = ranked or self._rank(task, worst)
            if len(kept) == len(ranked):
                raise self._cannot_hold(lost, kept)
            kept = (*kept, ranked[len(kept)])
            made = self.quantizer(_keeping(task, kept), destination)
            lost = self._measure(destination)
        return made, Guard(limit_points=self.limit, drops=lost, kept_in_float=kept)

    def _measure(self, path: Path) -> dict[str, Drop]:
        return drops(self.exact, answer(open_session(path, self.engine), self.texts), self.texts)

    def _rank(self, task: Task, domain: str) -> list[str]:
        """Return the nodes by how much closer each one, alone in float, brings the domain's answers; best first."""
        sample = self.texts.of_domain(domain).sample(SENSITIVITY_TEXTS)
        exact = answer(open_session(task.source), sample)
        with TemporaryDirectory(prefix="hrkd-guard-") as name:
            trial = Path(name) / "model.onnx"

            def distance(kept: tuple[str, ...]) -> float:
                self.ranking(_keeping(task, kept), trial)
                return divergence(exact, answer(open_session(trial), sample))

            before = distance(())
            gains = {node: before - distance((node,)) for node in quantizable_nodes(task.source)}
        return sorted(gains, key=gains.__getitem__, reverse=True)

    def _cannot_hold(self, lost: Mapping[str, Drop], kept: tuple[str, ...]) -> ExportError:
        numbers = ", ".join(
            f"{name} {drop.points:+.1f} ({drop.low:+.1f} to {drop.high:+.1f})" for name, drop in lost.items()
        )
        return ExportError(
            f"quantising costs more than {self.limit:g} points in a domain, even with {len(kept)} nodes in float; "
            f"points lost on validation texts: {numbers}",
            hint="choose another way of quantising, a higher --max-drop-per-domain, or no quantisation",
        )


def quantizable_nodes(graph: Path) -> list[str]:
    """Return the names of the nodes that hold a weight and may be quantised, in graph order."""
    model = onnx.load(graph)
    weights = {initializer.name for initializer in model.graph.initializer if len(initializer.dims) > 1}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTIZED_OPERATORS and any(name in weights for name in node.input)
    ]


def _keeping(task: Task, nodes: tuple[str, ...]) -> Task:
    return replace(task, kept_in_float=task.kept_in_float | frozenset(nodes))


def _worst(lost: Mapping[str, Drop]) -> str:
    return max(lost, key=lambda name: lost[name].points)
