"""Means over the texts of all processes, from the means of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrkd.distributed import sum_over_ranks, world_size


def mean_over_ranks(means: Sequence[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """Return ``sum_r count_r mean_r / sum_r count_r`` for each mean, r being the processes; gradients flow.

    A mean of means would weigh a process with short texts like one with long ones. All travel in one message. With one
    process the means come back untouched.

    Args:
        means: Of this process, any shapes.
        counts: For each mean, over how many entries it was taken; broadcasts to the mean. Zero everywhere gives zero.
    """
    if world_size() == 1:
        return list(means)
    totals = [mean * count for mean, count in zip(means, counts, strict=True)]
    summands = [*totals, *counts]
    summed = sum_over_ranks(torch.cat([summand.flatten() for summand in summands]))
    parts = [
        part.view_as(summand)
        for part, summand in zip(summed.split([summand.numel() for summand in summands]), summands, strict=True)
    ]
    smallest = torch.finfo(summed.dtype).tiny
    return [total / count.clamp_min(smallest) for total, count in zip(parts[: len(means)], parts[len(means) :])]
