"""One batch in several parts, one after the other, where all at once does not fit into memory.

Every term of a loss is made of sums over the batch. In a first pass, without gradients, each part hands in its
summands; in a second one every part computes the loss of the whole batch from the sums of all, of which only its own
share has a gradient. The gradients of the parts then add up to that of the whole batch, also where ratios depend on
all texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from hrkd.distributed import from_main, sum_over_ranks, world_size

_ACTIVE: ContextVar[Parts | None] = ContextVar("parts", default=None)


class Parts:
    """The parts of one step's batch, in all processes alike.

    Args:
        number: How many.

    Attributes:
        noise_seed: For random numbers that decide about the whole batch, and so must be the same in all parts.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.noise_seed = int(from_main(torch.randint(2**62, (1,))).item())
        self._seen: list[list[Tensor]] = [[] for _ in range(number)]
        self._sums: list[Tensor] | None = None
        self._part = self._call = 0

    @contextmanager
    def of(self, part: int) -> Iterator[None]:
        """Let sums be taken of this part: the first time alone, after :meth:`add_up` with all others."""
        self._part, self._call = part, 0
        token = _ACTIVE.set(self)
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    def add_up(self) -> None:
        """End the first pass."""
        with torch.no_grad():
            self._sums = [sum_over_ranks(torch.stack(parts).sum(dim=0)) for parts in zip(*self._seen, strict=True)]

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum of all parts' tensors of this call, through which this part's gradient flows.

        The loss of the whole batch is computed in each part and its gradient must count once, so the loss is divided
        by the number of parts and the gradient of what is summed multiplied by it; by that of processes likewise, see
        :func:`hrkd.distributed.sum_over_ranks`.
        """
        if self._sums is None:
            self._seen[self._part].append(own.detach())
            return own
        whole = self._sums[self._call]
        self._call += 1
        return whole + self.number * world_size() * (own - own.detach())


def active_parts() -> Parts | None:
    """Return the parts of the step that is being computed in parts; None for a batch that is computed at once."""
    return _ACTIVE.get()
