"""How near a model comes to what this processor can compute: its operations per second over those of a plain product.

The product is measured on the device (see :mod:`hrkd_bench.measurement.gemm`), so the denominator is a fact, not a data
sheet. The numerator counts what the answer needs: only the first token of the last layer. So a share below 1 says what
remains to be gained, by kernels, overhead and tokenisation together, and nothing about other processors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hrkd.artifact import read_json
from hrkd.bundle import MANIFEST, read_manifest
from hrkd.errors import BenchError
from hrkd.plan_shape import Shape
from hrkd_bench.limits.confinement import Confinement, Limits
from hrkd_bench.measurement.process import worker_environment

Roof = Literal["fp32", "int8"]
SECONDS = 1.0
_TIMEOUT_SECONDS = 120.0
_ROOFS: Mapping[str, Roof] = {"fp32": "fp32", "int8": "int8"}


@dataclass(frozen=True, slots=True)
class Rates:
    """Operations per second of one thread."""

    fp32: float
    int8: float

    def of(self, roof: Roof) -> float:
        """Return the rate of that name."""
        return self.int8 if roof == "int8" else self.fp32


@dataclass(frozen=True, slots=True)
class Share:
    """How near a model comes to a rate at one length; see :class:`hrkd_bench.document.resource_parts.RooflineShare`."""

    tokens: int
    operations: float
    share: float
    roof: Roof


def measure_rates(*, seconds: float = SECONDS, cpus: tuple[int, ...] | None = None) -> Rates:
    """Measure both products in a process of their own.

    Args:
        seconds: Both together.
        cpus: On which CPUs, because not all cores of a chip are alike; any of ours when left out.

    Raises:
        BenchError: The process failed.
    """
    with Confinement(Limits(cpus=cpus)) as confinement, confinement.starting():
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                confinement.command([sys.executable, "-P", "-m", "hrkd_bench.measurement.gemm", str(seconds)]),
                capture_output=True,
                text=True,
                env=worker_environment(threads=1),
                timeout=_TIMEOUT_SECONDS + seconds,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise BenchError(f"the processor's rates could not be measured: {error.stderr.strip()[-400:]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"the processor's rates could not be measured: {error}") from error
    return Rates(**json.loads(done.stdout))


def encoder_of(path: Path) -> Shape | None:
    """Return the size of the encoder in a bundle or a model folder; None where nothing says it.

    Raises:
        ArtifactError: The file that says it is damaged.
    """
    if (path / MANIFEST).is_file():
        encoder = read_manifest(path / MANIFEST).encoder
        if encoder is None:
            return None
        return Shape(encoder.layers, encoder.hidden_size, encoder.attention_heads, encoder.intermediate_size)
    return _shape_of_config(path / "config.json") if (path / "config.json").is_file() else None


def shares(
    encoder: Shape, precision: str, medians_ms: Sequence[tuple[int, float]], rates: Rates, threads: int
) -> list[Share]:
    """Return the share of the rate that a model reaches, by length.

    Args:
        encoder: Its size.
        precision: Of its weights; without a product of that precision there is no share.
        medians_ms: Tokens, and the median milliseconds of a whole answer.
        rates: Of one thread.
        threads: Of one answer.
    """
    roof = _ROOFS.get(precision)
    if roof is None:
        return []
    limit = threads * rates.of(roof)
    return [
        Share(tokens, operations, operations / (milliseconds / 1000) / limit, roof)
        for tokens, milliseconds in medians_ms
        for operations in [encoder.operations(tokens)]
    ]


def add_roofline(document: Mapping[str, Any], paths: Sequence[Path | None], rates: Rates) -> dict[str, Any]:
    """Return a bench document with the rates, and each result's share of them at the lengths that were measured.

    Args:
        document: As :func:`hrkd_bench.bench.bench` returns it.
        paths: Bundle or model folder of each result; None for one whose folder is not here.
        rates: Measured on the same machine, right before or after.
    """
    results = []
    for result, path in zip(document["results"], paths, strict=True):
        encoder = None if path is None else encoder_of(path)
        medians = [(entry["tokens"], entry["p50"]["value"]) for entry in result["by_length"]]
        found = [] if encoder is None else shares(encoder, result["precision"], medians, rates, result["threads"])
        results.append(
            result
            | {
                "roofline": [
                    {"tokens": one.tokens, "operations": one.operations, "share": one.share, "roof": one.roof}
                    for one in found
                ]
            }
        )
    return {
        **document,
        "results": results,
        "roofline": {"fp32_per_s": rates.fp32, "int8_per_s": rates.int8},
    }


def _shape_of_config(path: Path) -> Shape | None:
    """Read an encoder's configuration; families name the same numbers in two ways."""
    config = read_json(path)
    if not isinstance(config, dict):
        return None
    names = (
        ("num_hidden_layers", "n_layers"),
        ("hidden_size", "dim"),
        ("num_attention_heads", "n_heads"),
        ("intermediate_size", "hidden_dim"),
    )
    numbers = [next((config[name] for name in pair if isinstance(config.get(name), int)), None) for pair in names]
    layers, hidden, heads, inner = numbers
    if layers is None or hidden is None or heads is None or inner is None:
        return None
    return Shape(layers, hidden, heads, inner)
