"""fp32 ONNX -> static int8: activations are ranged once, on real texts, through Optimum or onnxruntime.

Ranges are the smallest and largest value seen (other methods cut outliers, which transformers need). Weights are
signed and per channel, activations unsigned: signed ones are slow on x86.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
)

from hrkd.errors import ExportError
from hrkd.recipe import QuantizationBackend
from hrkd_export.quantizers.base import Feeds, Made, Task
from hrkd_export.quantizers.workspace import Workspace, excluded_nodes, save, workspace

OPERATORS = ("MatMul", "Gemm", "Gather")


class Texts(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Hands calibration texts to onnxruntime, one at a time.

    Args:
        feeds: Inputs of one text each, unpadded: padding would take part in the ranges.
    """

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next text's inputs, or None after the last one."""
        feeds = next(self._left, None)
        return None if feeds is None else dict(feeds)


def quantize_qdq(task: Task, destination: Path) -> Made:
    """Quantise to pairs of quantise and dequantise nodes, which an engine turns into integer operators as it can.

    Raises:
        ExportError: There are no calibration texts, or the library refuses the graph.
    """
    return _quantize(task, destination, QuantFormat.QDQ)


def quantize_qoperator(task: Task, destination: Path) -> Made:
    """Quantise to integer operators.

    Raises:
        ExportError: There are no calibration texts, or the library refuses the graph.
    """
    return _quantize(task, destination, QuantFormat.QOperator)


def _quantize(task: Task, destination: Path, form: QuantFormat) -> Made:
    if not task.calibration:
        raise ExportError(
            "static quantisation needs calibration texts, and there are none",
            hint="export with the recipe of the run, whose training texts are used, or quantise with `int8`",
        )
    with workspace(task.source, f"quantised with `{task.backend}`") as space:
        excluded = excluded_nodes(onnx.load(space.source), task)
        if task.backend is QuantizationBackend.OPTIMUM:
            _with_optimum(space, task, form, excluded)
        else:
            _with_onnxruntime(space, task, form, excluded)
        save(onnx.load(space.result), destination)
    return Made()


def _with_onnxruntime(space: Workspace, task: Task, form: QuantFormat, excluded: list[str]) -> None:
    quantize_static(
        space.source,
        space.result,
        # Never with CalibMaxIntermediateOutputs: onnxruntime 1.32 forgets all but the last few texts then. What is
        # kept of a text is two numbers per tensor.
        Texts(task.calibration),
        quant_format=form,
        op_types_to_quantize=list(OPERATORS),
        per_channel=task.target.per_channel,
        reduce_range=task.target.reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )


def _with_optimum(space: Workspace, task: Task, form: QuantFormat, excluded: list[str]) -> None:
    """Quantise with Optimum; the ranges come from onnxruntime, because Optimum's own calibration wants a data set."""
    from onnxruntime.quantization import QuantizationMode
    from optimum.onnxruntime import ORTQuantizer, QuantizationConfig
    from transformers import PretrainedConfig

    calibrator = create_calibrator(space.source, OPERATORS, space.source.with_name("augmented.onnx"))
    calibrator.collect_data(Texts(task.calibration))
    config = QuantizationConfig(
        is_static=True,
        format=form,
        mode=QuantizationMode.QLinearOps,
        activations_dtype=QuantType.QUInt8,
        weights_dtype=QuantType.QInt8,
        per_channel=task.target.per_channel,
        reduce_range=task.target.reduce_range,
        nodes_to_exclude=excluded,
        operators_to_quantize=list(OPERATORS),
    )
    quantizer = ORTQuantizer(space.source, config=PretrainedConfig())
    quantizer.quantize(
        config,
        save_dir=space.result.parent,
        file_suffix=None,
        calibration_tensors_range=calibrator.compute_data(),
    )
