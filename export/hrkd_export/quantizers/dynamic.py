"""fp32 ONNX -> dynamic int8, through Optimum or onnxruntime with the same settings, plain or fused first.

Weight matrices and embedding tables become int8; activations are ranged at run time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from hrkd.errors import MissingExtraError
from hrkd.recipe import QuantizationBackend
from hrkd_export.fuse import absorbed_by, count_layers, fuse
from hrkd_export.quantizers.base import Made, Task
from hrkd_export.quantizers.workspace import Workspace, excluded_nodes, save, workspace
from hrkd_export.target import Target

OPERATORS = ("MatMul", "Gather")
"""Gather is the embedding lookup: its table is most of a small model, and is quantised only when asked for."""


def resolve_backend(backend: QuantizationBackend) -> QuantizationBackend:
    """Return ``backend``, with ``auto`` replaced by Optimum where it can be imported and onnxruntime elsewhere.

    Raises:
        MissingExtraError: Optimum was asked for by name and cannot be imported.
    """
    if backend is QuantizationBackend.ORT:
        return backend
    if optimum_works():
        return QuantizationBackend.OPTIMUM
    if backend is QuantizationBackend.OPTIMUM:
        raise MissingExtraError("export with the Optimum backend", "export")
    return QuantizationBackend.ORT


def optimum_works() -> bool:
    """Return whether Optimum's quantiser can be imported; an installed one may still refuse its neighbours."""
    try:
        from optimum.onnxruntime import ORTQuantizer  # noqa: F401  (the package alone is imported lazily)
    except ImportError:
        return False
    return True


def quantize_plain(task: Task, destination: Path) -> Made:
    """Quantise the weights of the plain graph to int8; onnxruntime fuses it when it is loaded.

    Raises:
        ExportError: The library refuses the graph.
    """
    with workspace(task.source, f"quantised with `{task.backend}`") as space:
        excluded = excluded_nodes(onnx.load(space.source), task)
        if task.backend is QuantizationBackend.OPTIMUM:
            _with_optimum(space, task.target, excluded)
        else:
            _with_onnxruntime(space, task.target, excluded)
        save(onnx.load(space.result), destination)
    return Made()


def quantize_fused(task: Task, destination: Path) -> Made:
    """Fuse the graph offline, then quantise its weights to int8.

    Optimum cannot quantise a fused graph: the types of tensors behind onnxruntime's own operators are unknown to it.
    onnxruntime can be told what to assume, so it does this one whatever the backend.

    Raises:
        ExportError: The graph cannot be fused, or the library refuses it.
    """
    with workspace(task.source, "quantised after fusing it") as space:
        fused = space.source.with_name("fused.onnx")
        plain = onnx.load(space.source)
        report = fuse(space.source, fused, task.heads, task.hidden_size, count_layers(plain))
        model = onnx.load(fused)
        excluded = [*excluded_nodes(model, task), *absorbed_by(plain, model, task.kept_in_float)]
        _with_onnxruntime(space._replace(source=fused), task.target, excluded, ("Attention",), tensor_type=True)
        save(onnx.load(space.result), destination)
    notes = report.notes
    if task.backend is QuantizationBackend.OPTIMUM:
        notes = (*notes, "quantised with onnxruntime, because Optimum cannot quantise a fused graph")
    return Made(report.fusions, notes)


def _with_optimum(space: Workspace, target: Target, excluded: list[str]) -> None:
    from onnxruntime.quantization import QuantFormat, QuantizationMode
    from optimum.onnxruntime import ORTQuantizer, QuantizationConfig
    from transformers import PretrainedConfig

    config = QuantizationConfig(
        is_static=False,
        format=QuantFormat.QOperator,
        mode=QuantizationMode.IntegerOps,
        activations_dtype=QuantType.QUInt8,
        weights_dtype=QuantType.QInt8,
        per_channel=target.per_channel,
        reduce_range=target.reduce_range,
        nodes_to_exclude=excluded,
        operators_to_quantize=list(OPERATORS),
    )
    quantizer = ORTQuantizer(space.source, config=PretrainedConfig())
    quantizer.quantize(config, save_dir=space.result.parent, file_suffix=None)


def _with_onnxruntime(
    space: Workspace,
    target: Target,
    excluded: list[str],
    further_operators: Collection[str] = (),
    *,
    tensor_type: bool = False,
) -> None:
    options: dict[str, object] = {"WeightSymmetric": True}
    if tensor_type:
        options["DefaultTensorType"] = onnx.TensorProto.FLOAT
    quantize_dynamic(
        space.source,
        space.result,
        op_types_to_quantize=[*OPERATORS, *further_operators],
        per_channel=target.per_channel,
        reduce_range=target.reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        extra_options=options,
    )
