"""Graphs that onnxruntime runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hrkd.engines.base import INPUTS, OUTPUT, IntArray, Logits, Setting, check_contract, unknown_setting, whole_number
from hrkd.engines.providers import SETTING, installed_providers, wanted_providers, warn_of_fallback
from hrkd.engines.telemetry import forbid_telemetry
from hrkd.errors import ArtifactError, MissingExtraError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

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
_FUSIONS = {"skip_layer_norm_fusion": "SkipLayerNormFusion", "bias_gelu_fusion": "BiasGeluFusion"}
"""Fusions made at load time that a manifest may switch off, and onnxruntime's names for them."""
_DEFAULTS: dict[str, Setting] = {"allow_spinning": "0"}
_ERROR_LEVEL = 3


class OnnxRuntimeGraph:
    """A graph on the first of the settings' execution providers that is there; see :func:`hrkd.engines.open_graph`."""

    def __init__(self, model: Path, settings: Mapping[str, Setting], threads: int) -> None:
        self._session = _open(model, settings, threads)
        outputs = [node.name for node in self._session.get_outputs()]
        check_contract(model, [node.name for node in self._session.get_inputs()], outputs)

    def run(self, input_ids: IntArray, attention_mask: IntArray, domain_ids: IntArray) -> Logits:
        """Return the logits (B, C) for (B, T), (B, T) and (B,)."""
        feeds = dict(zip(INPUTS, (input_ids, attention_mask, domain_ids), strict=True))
        logits: Logits = self._session.run([OUTPUT], feeds)[0]
        return logits


def _open(model: Path, settings: Mapping[str, Setting], threads: int) -> InferenceSession:
    forbid_telemetry()
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
    options, wanted = session_options(settings, threads), wanted_providers(settings)
    providers = installed_providers(wanted, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=providers, disabled_optimizers=disabled_fusions(settings)
        )
    except failures as error:
        raise ArtifactError(
            f"onnxruntime cannot load `{model}`: {first_line(error)}", hint="export the bundle again"
        ) from error
    warn_of_fallback(wanted, session.get_providers())
    return session


def disabled_fusions(settings: Mapping[str, Setting]) -> list[str]:
    """Return onnxruntime's names of the fusions that the settings switch off."""
    return [rule for name, rule in _FUSIONS.items() if name in settings and not whole_number(name, settings[name])]


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
        elif name not in ("intra_op_num_threads", "inter_op_num_threads", SETTING, *_FUSIONS):
            raise unknown_setting(name, value)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options
