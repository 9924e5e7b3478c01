"""The ways of quantising, by name. Importing this module loads none of the libraries that do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Literal, cast

from hrkd.errors import ExportError
from hrkd.recipe import Quantization
from hrkd_export.quantizers.base import Quantizer


@dataclass(frozen=True, slots=True)
class Way:
    """One way of quantising.

    Attributes:
        function: Quantiser, as ``module:name`` below this package.
        precision: Of the weights.
        engine: What the result is made for.
        calibrates: Whether it needs calibration texts.
        what: One line for people.
        ranked_by: A quicker quantiser that ranks nodes by sensitivity in its place; its own where it is None.
    """

    function: str
    precision: Literal["int8", "int4", "fp16"]
    engine: Literal["onnxruntime", "openvino"]
    calibrates: bool
    what: str
    ranked_by: str | None = None

    def quantizer(self) -> Quantizer:
        """Import and return the quantiser."""
        return _imported(self.function)

    def ranking_quantizer(self) -> Quantizer:
        """Import and return the quantiser that ranks nodes; what it makes runs on onnxruntime."""
        return _imported(self.ranked_by or self.function)


def _imported(function: str) -> Quantizer:
    module, _, name = function.partition(":")
    return cast("Quantizer", getattr(import_module(f"hrkd_export.quantizers.{module}"), name))


QUANTIZERS: Mapping[Quantization, Way] = MappingProxyType(
    {
        Quantization.INT8: Way(
            "dynamic:quantize_plain",
            "int8",
            "onnxruntime",
            calibrates=False,
            what="int8 weights and tables, activations ranged at run time",
        ),
        Quantization.INT8_FUSED: Way(
            "dynamic:quantize_fused",
            "int8",
            "onnxruntime",
            calibrates=False,
            what="the same on a graph whose attention and GELU were fused offline",
        ),
        Quantization.INT8_INT4_TABLES: Way(
            "weights:quantize_4_bit_tables",
            "int8",
            "onnxruntime",
            calibrates=False,
            what="int8 weights, activations ranged at run time, and tables in blocks of 4 bits",
        ),
        Quantization.INT8_STATIC_QDQ: Way(
            "static:quantize_qdq",
            "int8",
            "onnxruntime",
            calibrates=True,
            what="activations ranged on training texts, as quantise and dequantise nodes",
        ),
        Quantization.INT8_STATIC_QOPERATOR: Way(
            "static:quantize_qoperator",
            "int8",
            "onnxruntime",
            calibrates=True,
            what="activations ranged on training texts, as integer operators",
        ),
        Quantization.INT8_WEIGHTS: Way(
            "weights:quantize_8_bit",
            "int8",
            "onnxruntime",
            calibrates=False,
            what="8-bit weights in blocks, activations quantised inside each product",
        ),
        Quantization.INT4_WEIGHTS: Way(
            "weights:quantize_4_bit",
            "int4",
            "onnxruntime",
            calibrates=False,
            what="4-bit weights and tables in blocks, activations quantised to 8 bits inside each product",
        ),
        Quantization.FP16: Way(
            "half:quantize_half",
            "fp16",
            "onnxruntime",
            calibrates=False,
            what="half precision up to the heads, for GPUs",
        ),
        Quantization.INT8_OPENVINO: Way(
            "openvino:quantize_openvino",
            "int8",
            "openvino",
            calibrates=True,
            what="static int8 placed and run by OpenVINO",
            ranked_by="static:quantize_qdq",
        ),
    }
)


def way_of(quantization: Quantization) -> Way:
    """Return the way of a name.

    Raises:
        ExportError: The name stands for a choice among ways (``auto``).
    """
    if quantization not in QUANTIZERS:
        raise ExportError(
            f"`{quantization}` is no way of quantising of its own", hint=f"there are: {', '.join(QUANTIZERS)}"
        )
    return QUANTIZERS[quantization]
