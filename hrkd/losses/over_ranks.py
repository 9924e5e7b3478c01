"""Means over the texts of a whole batch, from the means of each process, and of each part of a batch in parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrkd.distributed import sum_over_ranks, world_size
from hrkd.losses.in_parts import active_parts


def mean_over_ranks(means: Sequence[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """Return ``sum_r count_r mean_r / sum_r count_r`` for each mean, r being processes and parts; gradients flow.

    A mean of means would weigh a process with short texts like one with long ones. All travel in one message. The means
    of a batch that one process computes at once come back untouched.

    Args:
        means: Of this process and part, any shapes.
        counts: For each mean, over how many entries it was taken; broadcasts to the mean. Zero everywhere gives zero.
    """
    parts_of_batch = active_parts()
    if world_size() == 1 and parts_of_batch is None:
        return list(means)
    totals = [mean * count for mean, count in zip(means, counts, strict=True)]
    summands = [*totals, *counts]
    own = torch.cat([summand.flatten() for summand in summands])
    summed = sum_over_ranks(own) if parts_of_batch is None else parts_of_batch.sum(own)
    parts = [
        part.view_as(summand)
        for part, summand in zip(summed.split([summand.numel() for summand in summands]), summands, strict=True)
    ]
    smallest = torch.finfo(summed.dtype).tiny
    return [total / count.clamp_min(smallest) for total, count in zip(parts[: len(means)], parts[len(means) :])]
