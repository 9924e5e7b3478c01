"""fp32 ONNX -> static int8 placed for OpenVINO by NNCF: quantise and dequantise nodes that its reader understands."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import cast

import onnx

from hrkd.engines import forbid_telemetry
from hrkd.errors import ExportError, MissingExtraError
from hrkd_export.quantizers.base import Made, Task
from hrkd_export.quantizers.workspace import save, workspace


def quantize_openvino(task: Task, destination: Path) -> Made:
    """Quantise with NNCF's post-training quantisation; products of activations it places as OpenVINO runs them.

    Raises:
        MissingExtraError: NNCF is not installed.
        ExportError: There are no calibration texts, or the library refuses the graph.
    """
    nncf = import_nncf()
    if not task.calibration:
        raise ExportError(
            "static quantisation needs calibration texts, and there are none",
            hint="export with the recipe of the run, whose training texts are used, or quantise with `int8`",
        )
    with workspace(task.source, "quantised for OpenVINO") as space, redirect_stdout(io.StringIO()):
        model = onnx.load(space.source)
        save(
            nncf.quantize(
                model,
                nncf.Dataset([dict(feeds) for feeds in task.calibration]),
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(task.calibration),
                ignored_scope=nncf.IgnoredScope(names=sorted(task.kept_in_float)) if task.kept_in_float else None,
            ),
            destination,
        )
    return Made()


def import_nncf() -> ModuleType:
    """Import NNCF without its telemetry and its logging.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    forbid_telemetry()
    logger_class = logging.getLoggerClass()
    try:
        with redirect_stdout(io.StringIO()):
            import nncf
    except ImportError as error:
        raise MissingExtraError("quantising for OpenVINO", "openvino") from error
    finally:
        logging.setLoggerClass(logger_class)  # NNCF replaces it for every logger made from now on
    nncf.set_log_level(logging.ERROR)
    return cast("ModuleType", nncf)
