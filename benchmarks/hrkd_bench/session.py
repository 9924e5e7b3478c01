"""Open an ONNX file with the session settings that a manifest may carry.

Only settings from this module's short list are passed on: a manifest is data from elsewhere, and onnxruntime has
settings that load code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hrkd.errors import ArtifactError, MissingExtraError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Setting = int | bool | str

INPUTS = ("input_ids", "attention_mask", "domain_id")
OUTPUT = "logits"

_CONFIG_ENTRIES = {
    "allow_spinning": "session.intra_op.allow_spinning",
    "set_denormal_as_zero": "session.set_denormal_as_zero",
    "dynamic_block_base": "session.dynamic_block_base",
}
_SWITCHES = ("enable_cpu_mem_arena", "enable_mem_pattern")
_OPTIMIZATION_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_DEFAULTS: dict[str, Setting] = {"allow_spinning": "0"}
_ERROR_LEVEL = 3


def open_session(model: Path, settings: Mapping[str, Setting], threads: int) -> InferenceSession:
    """Load an ONNX file on the CPU and check that its inputs and output are those of a bundle.

    Raises:
        ArtifactError: A setting is unknown, or the file is no graph of ours.
        MissingExtraError: onnxruntime is not installed.
    """
    # onnxruntime decides about telemetry when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise MissingExtraError("running a bundle", "edge") from error
    failures = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    options = session_options(settings, threads)
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise ArtifactError(
            f"onnxruntime cannot load `{model}`: {first_line(error)}", hint="export the bundle again"
        ) from error
    inputs = sorted(node.name for node in session.get_inputs())
    outputs = [node.name for node in session.get_outputs()]
    if inputs != sorted(INPUTS) or outputs != [OUTPUT]:
        raise ArtifactError(
            f"`{model}` maps {inputs} to {outputs}, a bundle maps {sorted(INPUTS)} to ['{OUTPUT}']",
            hint="export the bundle again",
        )
    return session


def session_options(settings: Mapping[str, Setting], threads: int) -> SessionOptions:
    """Translate a manifest's settings; ``intra_op_num_threads`` is replaced by ``threads``.

    Raises:
        ArtifactError: A setting is unknown or has an impossible value.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR_LEVEL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    for name, value in (_DEFAULTS | dict(settings)).items():
        if name in _CONFIG_ENTRIES:
            options.add_session_config_entry(_CONFIG_ENTRIES[name], str(whole_number(name, value)))
        elif name in _SWITCHES:
            setattr(options, name, bool(whole_number(name, value)))
        elif name == "graph_optimization_level" and value in _OPTIMIZATION_LEVELS:
            level = _OPTIMIZATION_LEVELS[str(value)]
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        elif name not in ("intra_op_num_threads", "inter_op_num_threads"):
            raise ArtifactError(f"session setting `{name}: {value}` of the manifest is unknown", hint="upgrade hrkd")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def whole_number(name: str, value: Setting) -> int:
    """Read a number that a manifest may also carry as text or as a truth value.

    Raises:
        ArtifactError: The value is no whole number.
    """
    try:
        return int(value)
    except ValueError as error:
        raise ArtifactError(
            f"session setting `{name}: {value}` of the manifest is no whole number", hint="export the bundle again"
        ) from error
