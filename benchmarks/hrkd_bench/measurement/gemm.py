"""A program of one second: how fast onnxruntime multiplies matrices here, in float32 and in int8, on one thread.

The product of a 512 x 512 matrix with constant weights of the same size is what a transformer computes most of the
time, at a size that fits into caches and keeps every unit busy: the practical limit of a core, through the same library
that runs the model. One JSON object on stdout: operations per second, 2 per multiplication and addition.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.engines import forbid_telemetry

GRAPHS = Path(__file__).with_name("gemm_graphs")
KINDS = ("fp32", "int8")
SIZE = 512
OPERATIONS = 2 * SIZE**3
_QUIET_SHARE = 0.1
"""The rate is that of the fastest tenth: a disturbance makes a product slower, nothing makes it faster."""
_FEWEST_RUNS = 10


def rate(kind: str, seconds: float) -> float:
    """Return operations per second of one kind of product.

    Args:
        kind: ``fp32`` or ``int8``.
        seconds: How long to multiply, after a tenth of it to warm up.
    """
    session = _session(kind)
    generator = np.random.default_rng(0)
    activations = (
        generator.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        if kind == "int8"
        else generator.normal(size=(SIZE, SIZE)).astype(np.float32)
    )
    _times(session, activations, seconds / 10)
    return OPERATIONS / float(np.quantile(_times(session, activations, seconds), _QUIET_SHARE))


def _times(session: Any, activations: Any, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < _FEWEST_RUNS:
        start = time.perf_counter()
        session.run(None, {"activations": activations})
        times.append(time.perf_counter() - start)
    return times


def _session(kind: str) -> Any:
    forbid_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(GRAPHS / f"{kind}.onnx"), options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Measure both kinds for as many seconds in all as the first argument says."""
    seconds = float(sys.argv[1])
    sys.stdout.write(json.dumps({kind: rate(kind, seconds / len(KINDS)) for kind in KINDS}) + "\n")


if __name__ == "__main__":
    main()
