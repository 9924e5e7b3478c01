"""fp32 ONNX -> dynamic int8, through Optimum or onnxruntime with the same settings.

Weight matrices and embedding tables become int8; products of two activations stay in float, because their ranges are
as wide as the text makes them and they hold no weights.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from hrkd.errors import ExportError, MissingExtraError, first_line
from hrkd.recipe import QuantizationBackend, Target
from hrkd_export.target import PRESETS, Preset
from hrkd_export.to_onnx import normalize

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
        import optimum.onnxruntime  # noqa: F401  (the import itself is the question)
    except ImportError:
        return False
    return True


def quantize_int8(
    source: Path, destination: Path, target: Target, backend: QuantizationBackend, preset: Preset | None = None
) -> None:
    """Quantise the weights of a graph to int8.

    Args:
        source: fp32 graph.
        destination: File to write.
        target: Instruction set; not ``auto``.
        backend: Library that does it; not ``auto``.
        preset: Settings to use instead of the target's own.

    Raises:
        ExportError: The library refuses the graph.
    """
    chosen = preset or PRESETS[target]
    with TemporaryDirectory(prefix="hrkd-quantize-") as name, _quiet_logging():
        # The quantisers write further files beside their input and output, so both stand in a folder of their own.
        prepared, result = Path(name) / "in" / "model.onnx", Path(name) / "out" / "model.onnx"
        prepared.parent.mkdir()
        result.parent.mkdir()
        shutil.copyfile(source, prepared)
        excluded = products_of_activations(onnx.load(source))
        try:
            if backend is QuantizationBackend.OPTIMUM:
                _with_optimum(prepared, result, target, chosen, excluded)
            else:
                _with_onnxruntime(prepared, result, chosen, excluded)
            model = onnx.load(result)
            normalize(model)
            onnx.checker.check_model(model)
        except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
            raise ExportError(f"the graph cannot be quantised with `{backend}`: {first_line(error)}") from error
    onnx.save(model, destination)


def products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of the MatMul nodes without a weight: attention scores and their use."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] not in weights]


def _with_optimum(prepared: Path, result: Path, target: Target, preset: Preset, excluded: list[str]) -> None:
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer
    from transformers import PretrainedConfig

    config = getattr(AutoQuantizationConfig, target.value)(
        is_static=False,
        per_channel=preset.per_channel,
        nodes_to_exclude=excluded,
        operators_to_quantize=list(OPERATORS),
    )
    config.reduce_range = preset.reduce_range
    # Optimum's avx2 preset makes unsigned weights; with 7 bits, signed ones are safe there too, and one rule holds.
    config.weights_dtype = QuantType.QInt8
    quantizer = ORTQuantizer(prepared, config=PretrainedConfig())
    quantizer.quantize(config, save_dir=result.parent, file_suffix=None)


def _with_onnxruntime(prepared: Path, result: Path, preset: Preset, excluded: list[str]) -> None:
    quantize_dynamic(
        prepared,
        result,
        op_types_to_quantize=list(OPERATORS),
        per_channel=preset.per_channel,
        reduce_range=preset.reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        extra_options={"WeightSymmetric": True},
    )


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Keep the quantisers' advice away from the user.

    They log through the root logger's module functions, which would also install a handler there for good.
    """
    root = logging.getLogger()
    handler = logging.NullHandler()

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root.addHandler(handler)
    root.addFilter(errors_only)
    try:
        yield
    finally:
        root.removeFilter(errors_only)
        root.removeHandler(handler)
