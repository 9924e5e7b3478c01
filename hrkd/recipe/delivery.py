"""Recipe sections `export` and `bench`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from hrkd.recipe.base import PositiveInt, Section


class QuantizationBackend(StrEnum):
    """Which library applies the quantisation preset."""

    AUTO = "auto"
    """Optimum where it can be imported, onnxruntime otherwise."""
    OPTIMUM = "optimum"
    ORT = "ort"


class Target(StrEnum):
    """Instruction set of the machine that will run the bundle."""

    AUTO = "auto"
    """Read from this machine's processor."""
    AVX2 = "avx2"
    AVX512 = "avx512"
    AVX512_VNNI = "avx512_vnni"
    ARM64 = "arm64"


class ExportConfig(Section):
    """How the student becomes a bundle."""

    quantize: Literal["int8"] | None = "int8"
    target: Target = Target.AUTO
    backend: QuantizationBackend = QuantizationBackend.AUTO
    opset: Annotated[int, Field(ge=14, le=20)] = 17
    eval_examples_per_domain: PositiveInt = 1000
    """Test texts of each domain that travel in the bundle, so that accuracy can be measured on the device."""


class BenchConfig(Section):
    """How the bundle is measured."""

    threads: PositiveInt = 1
    rounds: PositiveInt = 5
    """Subjects take turns this many times over the texts, so that a slow minute hits all of them."""
    warmup_texts: PositiveInt = 50
    cold_starts: PositiveInt = 3
    max_texts: PositiveInt | None = None
    """Measure at most this many evaluation texts, stratified by domain; all of them when left out."""
