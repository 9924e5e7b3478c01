"""Graphs that OpenVINO runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.engines.base import INPUTS, OUTPUT, IntArray, Logits, Setting, check_contract, unknown_setting, whole_number
from hrkd.engines.telemetry import forbid_telemetry
from hrkd.errors import ArtifactError, MissingExtraError, first_line

if TYPE_CHECKING:
    from openvino import InferRequest, Model

_OWN = ("intra_op_num_threads", "static_length")


class OpenVinoGraph:
    """A graph on OpenVINO's CPU device; see :func:`hrkd.engines.open_graph`.

    Everything that is not quantised is computed in float32: the default, bfloat16 where a core has it, would give
    other answers on other machines. The setting ``static_length`` makes a second, faster copy for single texts of
    exactly that many tokens, which a text cut to the maximum length has; it costs the memory of the weights again.
    """

    def __init__(self, model: Path, settings: Mapping[str, Setting], threads: int) -> None:
        for name, value in settings.items():
            if name not in _OWN:
                raise unknown_setting(name, value)
        forbid_telemetry()
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("running a bundle made for OpenVINO", "openvino") from error
        self._static_length = whole_number("static_length", settings.get("static_length", 0))
        core = openvino.Core()
        try:
            graph = core.read_model(str(model))
            check_contract(model, [port.any_name for port in graph.inputs], [port.any_name for port in graph.outputs])
            self._any_shape = _compile(core, graph, threads)
            self._static = _compile(core, _single(graph, self._static_length), threads) if self._static_length else None
        except RuntimeError as error:
            raise ArtifactError(
                f"OpenVINO cannot load `{model}`: {first_line(error)}", hint="export the bundle again"
            ) from error

    def run(self, input_ids: IntArray, attention_mask: IntArray, domain_ids: IntArray) -> Logits:
        """Return the logits (B, C) for (B, T), (B, T) and (B,)."""
        feeds = dict(zip(INPUTS, (input_ids, attention_mask, domain_ids), strict=True))
        fits = self._static is not None and input_ids.shape == (1, self._static_length)
        request: Any = self._static if fits else self._any_shape
        return np.array(request.infer(feeds)[OUTPUT], dtype=np.float32)  # a copy: the request's memory is used again


def _single(graph: Model, tokens: int) -> Model:
    """Return a copy that takes one text of a fixed number of tokens."""
    fixed = graph.clone()
    fixed.reshape({"input_ids": [1, tokens], "attention_mask": [1, tokens], "domain_id": [1]})
    return fixed


def _compile(core: Any, graph: Model, threads: int) -> InferRequest:
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(graph, "CPU", settings).create_infer_request()
