"""Minutes of work without a pause: does the device slow down when it gets warm?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np

from hrkd_bench.machine.sensors import frequency_mhz, temperature_c
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.rounds import run
from hrkd_bench.measurement.samples import Ids, Milliseconds, Minute

BLOCKS_PER_MINUTE = 6
_TEXTS_PER_REQUEST = 20  # a block ends after a request, so it must not last long on a slow device

Elapsed = Callable[[float], None]
"""Called with the seconds that have passed."""


def sustain(
    worker: WorkerProcess,
    entries: Ids,
    minutes: int,
    elapsed: Elapsed,
    *,
    clock: Callable[[], float] = time.monotonic,
    seconds_per_minute: float = 60.0,
) -> list[Minute]:
    """Let one worker answer without a pause.

    Args:
        worker: Loaded, with its texts open.
        entries: Texts to go over again and again.
        minutes: How long.
        elapsed: Told about the progress.
        clock: Monotonic seconds; replaced in tests.
        seconds_per_minute: Shortened in tests.
    """
    parts = cycle(np.array_split(entries, max(1, len(entries) // _TEXTS_PER_REQUEST)))
    begin = clock()
    measured = []
    for minute in range(minutes):
        blocks = []
        for block in range(BLOCKS_PER_MINUTE):
            until = begin + seconds_per_minute * (minute + (block + 1) / BLOCKS_PER_MINUTE)
            blocks.append(_block(worker, parts, until, clock))
            elapsed(clock() - begin)
        times = np.concatenate(blocks)
        medians = [float(np.median(block)) for block in blocks]
        measured.append(Minute(medians, len(times), float(np.median(times)), temperature_c(), frequency_mhz()))
    return measured


def _block(worker: WorkerProcess, parts: Iterator[Ids], until: float, clock: Callable[[], float]) -> Milliseconds:
    """Return the end-to-end milliseconds of what was answered until then, one request at least."""
    times: list[int] = []
    while not times or clock() < until:
        times += run(worker, next(parts))["end_to_end_ns"]
    return np.asarray(times, dtype=np.float64) / 1e6
