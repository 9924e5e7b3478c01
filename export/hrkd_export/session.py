"""onnxruntime sessions as this package opens them, and the settings that a bundle recommends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

SESSION_SETTINGS: dict[str, int | bool | str] = {"allow_spinning": False, "graph_optimization_level": "all"}
"""Idle threads sleep instead of burning the device's battery; the number of threads is left to the device."""


def open_session(model: Path) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU with :data:`SESSION_SETTINGS`, on one thread: sums then come out the same everywhere."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run_session(
    session: onnxruntime.InferenceSession, input_ids: IntArray, attention_mask: IntArray, domain_ids: IntArray
) -> FloatArray:
    """Return the logits, shape (B, C), for (B, T), (B, T) and (B,)."""
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "domain_id": domain_ids}
    logits: FloatArray = session.run(["logits"], inputs)[0]
    return logits
