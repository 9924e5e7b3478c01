"""Graphs as this package opens them while it works, and the settings that a bundle recommends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hrkd.engines import Engine, Graph, IntArray, Logits, Setting, open_graph
from hrkd.engines.providers import CPU, SETTING

__all__ = ["IntArray", "Logits", "open_session", "run_session", "session_settings"]

_SETTINGS: Mapping[Engine, Mapping[str, Setting]] = {
    # Idle threads sleep instead of burning the device's battery; the number of threads is left to the device.
    # onnxruntime's fused kernel of addition and layer norm is several times slower than the two apart (docs/log.md).
    "onnxruntime": {"allow_spinning": False, "graph_optimization_level": "all", "skip_layer_norm_fusion": False},
    "openvino": {},
}


def session_settings(engine: Engine, max_length: int, providers: Sequence[str] = (CPU,)) -> dict[str, Setting]:
    """Return the settings that a bundle recommends.

    For OpenVINO a text cut to ``max_length`` tokens has a copy of the graph for exactly that length: a fifth faster,
    for the memory of the weights once more (docs/log.md).
    """
    own: dict[str, Setting] = {"static_length": max_length} if engine == "openvino" else {}
    if tuple(providers) != (CPU,):
        own[SETTING] = ",".join(providers)
    return {**_SETTINGS[engine], **own}


def open_session(model: Path, engine: Engine = "onnxruntime") -> Graph:
    """Open a graph with a bundle's settings, on one thread: sums then come out the same everywhere."""
    return open_graph(model, engine, _SETTINGS[engine], threads=1)


def run_session(session: Graph, input_ids: IntArray, attention_mask: IntArray, domain_ids: IntArray) -> Logits:
    """Return the logits, shape (B, C), for (B, T), (B, T) and (B,)."""
    return session.run(input_ids, attention_mask, domain_ids)
