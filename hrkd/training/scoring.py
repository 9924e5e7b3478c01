"""Answers of the present model to a whole split, the work shared by all processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.distributed import barrier, rank, sum_over_ranks, world_size
from hrkd.evaluation import EVALUATION_BATCH, predict_logits
from hrkd.models import Teacher


@torch.no_grad()
def shared_logits(model: Teacher, examples: TokenizedExamples, device: Device) -> NDArray[np.float32]:
    """Return what :func:`hrkd.evaluation.predict_logits` returns, in all processes; each runs a part of the batches.

    Args:
        model: The same in all processes; left in evaluation mode.
        examples: The split, the same in all processes.
        device: Where to run, and in which number format.
    """
    if world_size() == 1:
        return predict_logits(model, examples, device)
    barrier()  # a shared teacher's layers are messages between GPUs, and those do not wait for who is tokenising yet
    model.eval()
    logits = torch.zeros(len(examples), len(model.config.label_names))
    for indices, batch in _own_batches(examples):
        moved = batch.to(device.device)
        with device.autocast():
            output = model(moved.input_ids, moved.attention_mask, moved.domain_ids)
        logits[torch.from_numpy(indices)] = output.logits[: len(indices)].float().cpu()
    array: NDArray[np.float32] = sum_over_ranks(logits).numpy()
    return array


def _own_batches(examples: TokenizedExamples) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Yield every n-th batch and the examples whose answers this process hands in: the same number for all of n.

    A forward pass of a shared teacher takes all processes. Where the last round is too short for all, the rest run its
    last batch as well and hand in nothing.
    """
    number = -1
    for number, (indices, batch) in enumerate(examples.iterate_in_order(EVALUATION_BATCH)):
        if number % world_size() == rank():
            yield indices, batch
    if number % world_size() < rank():
        yield indices[:0], batch
