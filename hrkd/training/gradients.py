"""From a batch to gradients: at once, or in parts where it does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import nn

from hrkd.data.collate import Batch
from hrkd.device import Device
from hrkd.distributed import smallest_over_ranks, world_size
from hrkd.errors import HrkdError
from hrkd.losses import Parts
from hrkd.training.step import Objective, StepResult

Check = Callable[[StepResult], None]
"""Raises where a loss must not be learned from."""
Result = TypeVar("Result")


def leave_gradients(
    objective: Objective, batch: Batch, progress: float, device: Device, num_domains: int, number: int, check: Check
) -> StepResult:
    """Compute the loss of a batch in ``number`` parts and add its gradients to those of the parameters.

    With more than one part teacher and student run forward twice on each; what is left in memory at any time is one
    part's. Dropout draws the same numbers both times.

    Args:
        objective: What to minimise.
        batch: B examples of each of K domains, in domain order.
        progress: Fraction of all steps done.
        device: Where to run.
        num_domains: K.
        number: At most B.
        check: Asked about the loss before the first gradient.

    Returns:
        What the objective says about the whole batch.
    """

    def compute(piece: Batch) -> StepResult:
        with device.autocast():
            return objective(piece, progress)

    for part, result in enumerate(of_the_whole(compute, in_parts(batch, num_domains, number))):
        if part == 0:
            check(result)
        (result.loss / number).backward()
    return result


def of_the_whole(compute: Callable[[Batch], Result], pieces: Sequence[Batch]) -> Iterator[Result]:
    """Yield for each part of a batch what ``compute`` makes of the whole one.

    All parts first hand in their sums, without gradients; then each is computed again with the sums of all, drawing the
    same random numbers. So all results are equal but for rounding, and a scalar's gradient is the number of parts times
    this part's share. A batch that is not divided is computed once.

    Args:
        compute: Takes its means over texts by :func:`hrkd.losses.mean_over_ranks`.
        pieces: From :func:`in_parts`.
    """
    if len(pieces) == 1:
        yield compute(pieces[0])
        return
    parts, states = Parts(len(pieces)), []
    for part, piece in enumerate(pieces):
        states.append(RandomState(piece.labels.device))
        with torch.no_grad(), parts.of(part):
            compute(piece)
    parts.add_up()
    for part, (piece, state) in enumerate(zip(pieces, states, strict=True)):
        state.restore()
        with parts.of(part):
            result = compute(piece)
        yield result


def with_fewer_at_once(
    work: Callable[[int], Result],
    batch: Batch,
    num_domains: int,
    number: int,
    device: Device,
    trainable: nn.Module,
    message: Callable[[str], None],
) -> tuple[Result, int]:
    """Do something with a batch in ``number`` parts, and again in twice as many whenever memory runs out.

    Args:
        work: Takes the number of parts; a try that fails leaves nothing but gradients.
        batch: B examples of each of K domains.
        num_domains: K.
        number: Parts to begin with, the same in all processes; the smallest share of a batch limits it.
        device: Where it runs.
        trainable: Of a failed try, the gradients that it has left here are dropped; there were none before.
        message: Told about every try that failed.

    Returns:
        What ``work`` returns, and the number of parts that fit.

    Raises:
        HrkdError: One text of each domain does not fit either, or several processes train, which would have to agree.
    """
    largest = len(batch) // num_domains
    if number > 1:
        largest = smallest_over_ranks(largest)  # all divide alike: parts and a shared teacher are messages to all
    while True:
        state, number = RandomState(device.device), min(number, largest)
        try:
            return work(number), number
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if number == largest or world_size() > 1:
                raise HrkdError(
                    f"out of memory with {len(batch) // number} texts of {batch.input_ids.shape[1]} tokens at once",
                    hint="raise `micro_batches`, which changes no result, or lower `batch_size` or `data.max_length`",
                ) from error
        # Outside of the handler, whose error holds what the failed try had in memory.
        trainable.zero_grad(set_to_none=True)
        state.restore()
        if device.device.type == "cuda":
            torch.cuda.empty_cache()
        number *= 2
        message(f"out of memory: a step is done in {min(number, largest)} parts from here on, with the same result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine has no memory left; PyTorch has no class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def in_parts(batch: Batch, num_domains: int, number: int) -> list[Batch]:
    """Return ``number`` parts of a batch with rows of every domain in each; they may differ by a row per domain.

    Args:
        batch: B examples of each of K domains, in domain order.
        num_domains: K.
        number: At most B; 1 gives the batch itself.
    """
    if number == 1:
        return [batch]
    rows = torch.arange(len(batch), device=batch.labels.device).unflatten(0, (num_domains, -1))
    return [batch.select(rows[:, part::number].flatten()) for part in range(number)]


class RandomState:
    """The random numbers that dropout would draw next, so that they can be drawn again."""

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        self._gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._device = device

    def restore(self) -> None:
        """Go back to it."""
        torch.set_rng_state(self._cpu)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu, self._device)
