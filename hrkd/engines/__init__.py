"""What runs an ONNX graph: onnxruntime or OpenVINO, behind one interface. Neither is imported before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hrkd.engines.base import INPUTS, OUTPUT, Engine, Graph, IntArray, Logits, Setting, whole_number
from hrkd.engines.telemetry import forbid_telemetry
from hrkd.errors import ArtifactError

__all__ = [
    "INPUTS",
    "OUTPUT",
    "Engine",
    "Graph",
    "IntArray",
    "Logits",
    "Setting",
    "forbid_telemetry",
    "open_graph",
    "whole_number",
]


def open_graph(model: Path, engine: Engine, settings: Mapping[str, Setting], threads: int) -> Graph:
    """Load an ONNX file.

    Args:
        model: The file.
        engine: What runs it.
        settings: A manifest's session settings; only those that the engine knows by name are passed on, because a
            manifest is data from elsewhere, and both engines have settings that load code.
        threads: Threads of one answer.

    Raises:
        ArtifactError: The engine or a setting is unknown, or the file is no graph of ours.
        MissingExtraError: The engine is not installed.
    """
    match engine:
        case "onnxruntime":
            from hrkd.engines.onnx_runtime import OnnxRuntimeGraph

            return OnnxRuntimeGraph(model, settings, threads)
        case "openvino":
            from hrkd.engines.open_vino import OpenVinoGraph

            return OpenVinoGraph(model, settings, threads)
    raise ArtifactError(f"engine `{engine}` is unknown", hint="upgrade hrkd")
