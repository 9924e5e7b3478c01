"""Recipe sections `export` and `bench`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from hrkd.recipe.base import Fraction, Name, NonNegativeFloat, PositiveFloat, PositiveInt, Section


def _quoted(value: object) -> object:
    """Refuse a number: YAML reads 1.10 as 1.1, which is another version.

    Raises:
        ValueError: It is a number.
    """
    if isinstance(value, (int, float)):
        raise ValueError(f"write the version in quotes, e.g. '1.16': YAML reads {value} as a number")
    return value


RuntimeVersion = Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$"), BeforeValidator(_quoted)]


class QuantizationBackend(StrEnum):
    """Which library applies the quantisation preset."""

    AUTO = "auto"
    """Optimum where it can be imported, onnxruntime otherwise."""
    OPTIMUM = "optimum"
    ORT = "ort"


class Quantization(StrEnum):
    """What is done to the weights, and for which engine."""

    AUTO = "auto"
    """Every way that the target knows is tried and measured; the best one within the limits becomes the bundle."""
    INT8 = "int8"
    """Dynamic: int8 weights, activations ranged at run time."""
    INT8_FUSED = "int8-fused"
    """The same on a graph that was fused offline."""
    INT8_INT4_TABLES = "int8-int4-tables"
    """The plain dynamic one with embedding tables of 4 bits, which are most of a small student."""
    INT8_STATIC_QDQ = "int8-static-qdq"
    """Activations ranged on calibration texts, as pairs of quantise and dequantise nodes."""
    INT8_STATIC_QOPERATOR = "int8-static-qoperator"
    """The same as integer operators."""
    INT8_WEIGHTS = "int8-weights"
    """Weights alone, in blocks; activations are quantised block by block inside the product."""
    INT4_WEIGHTS = "int4-weights"
    FP16 = "fp16"
    """For providers that compute in half precision."""
    INT8_OPENVINO = "int8-openvino"
    """Static, placed for OpenVINO, which then runs the bundle."""


class ExportConfig(Section):
    """How the student becomes a bundle."""

    quantize: Quantization | None = Quantization.INT8
    target: Name = "auto"
    """Row of the table of targets, or ``auto``: what this machine's processor is."""
    targets: Path | None = None
    """YAML file with further targets (docs/targets.md)."""
    backend: QuantizationBackend = QuantizationBackend.AUTO
    """Library of the dynamic and static quantisations."""
    opset: Annotated[int, Field(ge=14, le=21)] = 17
    runtime_version: RuntimeVersion | None = None
    """Oldest onnxruntime that must read the bundle, e.g. ``1.16``: caps opset and IR version."""
    trim_vocab: bool = False
    """Keep only the pieces of the vocabulary that the training texts use, and all single characters."""
    max_vocab: PositiveInt | None = None
    """Keep at most this many pieces, the most frequent ones; implies ``trim_vocab``."""
    max_rows: PositiveInt | None = None
    """Keep at most this many rows of the word embedding; a piece that training texts seldom use shares the row of its
    nearest neighbour."""
    max_drop_per_domain: Annotated[float, Field(gt=0.0)] | None = None
    """Points of accuracy that quantising may cost in any domain, on validation texts; layers stay in float until it
    holds."""
    max_size_mb: Annotated[float, Field(gt=0.0)] | None = None
    """``auto``: largest bundle to ship, in 10^6 bytes."""
    calibration_texts_per_domain: PositiveInt = 64
    """Training texts of each domain that static quantisation ranges activations on."""
    eval_examples_per_domain: PositiveInt = 1000
    """Test texts of each domain that travel in the bundle, so that accuracy can be measured on the device."""

    @property
    def trims(self) -> bool:
        """Whether the vocabulary is cut."""
        return self.trim_vocab or self.max_vocab is not None


class BenchConfig(Section):
    """How the bundle is measured."""

    threads: PositiveInt = 1
    rounds: PositiveInt = 8
    """Fresh processes of each subject, which take turns over a part of the texts in each round. A claim about speed
    rests on how much the rounds differ, so one round claims nothing."""
    warmup_texts: PositiveInt = 50
    cold_starts: PositiveInt = 3
    """Starts of each subject to time; a round's start counts as one."""
    max_texts: PositiveInt | None = None
    """Measure at most this many evaluation texts, stratified by domain; all of them when left out."""
    min_samples: PositiveInt = 700
    """Answers of each subject to time at least, p99 needs 662; few texts are repeated in passes."""
    min_seconds: NonNegativeFloat = 5.0
    """Seconds of answers to time of each subject, about; a fast one repeats its texts until they are full."""
    smallest_difference: Fraction = 0.03
    """Share of the latency that matters: faster or slower is said when the whole interval lies beyond it."""
    lengths: tuple[Annotated[int, Field(ge=4)], ...] = (16, 32, 64, 128)
    """Lengths in tokens that are also measured on their own, as far as the model reads; none when empty."""
    rate: PositiveFloat | None = None
    """Requests per second of an open loop, where requests come whether or not the model is free; none when left out."""
    rate_seconds: PositiveFloat = 10.0
    """How long the requests of the open loop go on."""
    minutes: PositiveInt | None = None
    """Minutes of work without a pause, to see whether the device slows down; none when left out."""
