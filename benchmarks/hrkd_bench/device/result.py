"""What a device sends back: its plan, the hashes of what ran, and the raw session. No claim is made from it there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hrkd.errors import BenchError
from hrkd.shape import ShapeError, from_json
from hrkd_bench.device.plan import Plan
from hrkd_bench.measurement.memory_limit import MemoryLimit
from hrkd_bench.measurement.roofline import Rates

RESULT_LIMIT_BYTES = 500_000_000
RESULT_SCHEMA: Literal[1] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One bundle's answers to the chosen texts, without times: logits (n, C) and tokens (n,)."""

    logits: list[list[float]]
    tokens: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceResult:
    """A measurement on another machine.

    Attributes:
        plan: What was asked for.
        files: SHA-256 of every file as it stood on the device when it ran.
        environment: Fields of :class:`hrkd_bench.machine.environment.Environment`.
        emulation: What gave an emulator away; None on a real processor.
        answers: Of an emulator, one for each bundle; None otherwise.
        session: See :mod:`hrkd_bench.device.wire`; None of an emulator, whose times mean nothing.
        rates: What the processor can compute, measured right after; None of an emulator.
        memory_limits: Of each bundle, where the plan asked for them.
    """

    schema_version: Literal[1] = RESULT_SCHEMA
    plan: Plan
    files: dict[str, str]
    environment: dict[str, Any]
    emulation: str | None
    answers: list[Answers] | None
    session: Any
    rates: Rates | None
    memory_limits: list[MemoryLimit] | None


def read_result(path: Path) -> DeviceResult:
    """Read what a packed runner wrote.

    Raises:
        BenchError: The file is missing, too large, or no such result.
    """
    try:
        if path.stat().st_size > RESULT_LIMIT_BYTES:
            raise BenchError(f"`{path}` has more than {RESULT_LIMIT_BYTES} bytes, so it is no result of a device")
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(f"`{path}` cannot be read: {error.strerror}") from error
    return parse_result(content, f"`{path}`")


def parse_result(content: bytes, where: str) -> DeviceResult:
    """Read the bytes of a result; see :func:`read_result`.

    Args:
        content: UTF-8 JSON.
        where: What errors call it.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{where} is not JSON: {error}", hint="copy it from the device again") from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != RESULT_SCHEMA:
        raise BenchError(
            f"{where} has schema version {version!r:.40}, this hrkd reads {RESULT_SCHEMA}",
            hint="give what a packed runner wrote; pack it again with this hrkd",
        )
    try:
        result = from_json(DeviceResult, value)
    except ShapeError as error:
        raise BenchError(f"{where} is no result of a device: {error}", hint="measure again") from error
    timed = (result.session is not None, result.rates is not None, result.answers is None)
    if set(timed) != {result.emulation is None}:
        raise BenchError(f"{where} holds neither times nor the answers of an emulator", hint="measure again")
    if result.rates is not None and min(result.rates.fp32, result.rates.int8) <= 0:
        raise BenchError(f"{where} holds rates of a processor that computes nothing", hint="measure again")
    bundles = len(result.plan.names) - result.plan.num_baselines
    if result.memory_limits is not None and len(result.memory_limits) != bundles:
        raise BenchError(f"{where} holds other memory limits than of its {bundles} bundle(s)", hint="measure again")
    return result
