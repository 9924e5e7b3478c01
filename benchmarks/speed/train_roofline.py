"""What the device could do at most: its measured rate of matrix products, and how many of them a step needs."""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import time
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from hrkd.device import Device
from speed.train_steps import HrkdStep, Indices, wait_for

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices: large enough to be bound by arithmetic."""
REPEATS = 7


def product_rate(device: Device) -> float:
    """Return the floating-point operations per second of large matrix products, the best of a few."""
    side = SIDE[device.device.type]
    left, right = (torch.randn(side, side, device=device.device, dtype=device.dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS):
        wait_for(device.device)
        start = time.perf_counter()
        left @ right
        wait_for(device.device)
        seconds.append(time.perf_counter() - start)
    return 2.0 * side**3 / min(seconds)


def counted_flops(contestant: HrkdStep, steps: Sequence[Indices]) -> float:
    """Return the floating-point operations per example of some of our steps: products only, padding included."""
    total = 0
    for indices in steps:
        with FlopCounterMode(display=False) as counter:
            contestant.step(indices)
        total += counter.get_total_flops()
    return total / sum(map(len, steps))
