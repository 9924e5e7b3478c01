"""Which examples each training step sees: the same number of every domain, of similar length, as a pure function.

Each domain is an endless sequence of passes over its own examples, every pass shuffled anew, so small domains wrap.
Steps are grouped in windows. Within a window each domain's examples are sorted by length and cut into batches, and
all domains use one order of ranks: in a step every domain has, say, its third-shortest batch, and little is padded.
"""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray

from hrkd.data.dataset import Examples

WINDOW_STEPS = 32
_PASS_STREAM, _RANK_STREAM = 0, 1  # first key of two families of random streams that must not meet


class DomainBatches:
    """Batches with ``batch_size`` examples of every domain.

    Args:
        examples: The training split.
        lengths: Length of each example in tokens or characters, shape (n,); only their order matters.
        batch_size: Examples per domain in each step (B).
        num_domains: Number of domains (K); each must have examples.
        seed: Decides everything together with the step.
    """

    def __init__(
        self, examples: Examples, lengths: NDArray[np.integer], batch_size: int, num_domains: int, seed: int
    ) -> None:
        if batch_size < 1 or num_domains < 1:
            raise ValueError(f"batch_size {batch_size} and num_domains {num_domains} must be at least 1")
        if len(lengths) != len(examples):
            raise ValueError(f"{len(lengths)} lengths for {len(examples)} examples")
        self._members = [np.flatnonzero(examples.domains == domain) for domain in range(num_domains)]
        empty = [domain for domain, members in enumerate(self._members) if not len(members)]
        if empty:
            raise ValueError(f"domains {empty} have no examples")
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._size = len(examples)
        self._window: tuple[int, NDArray[np.int64]] | None = None
        self._latest: dict[int, tuple[int, NDArray[np.int64]]] = {}  # pass of each domain; one serves many windows

    @property
    def num_domains(self) -> int:
        """Number of domains (K)."""
        return len(self._members)

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which as many examples were seen as the split has; large domains are then not yet through."""
        return math.ceil(self._size / (self.num_domains * self._batch_size))

    def enlarged(self, factor: int) -> DomainBatches:
        """Return batches of ``factor`` times as many examples of every domain, of the same seed."""
        larger = copy.copy(self)
        larger._batch_size *= factor
        larger._window, larger._latest = None, {}
        return larger

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the examples of one step, shape (K*B,): domain k in rows ``k*B`` to ``(k+1)*B``.

        Args:
            step: Counted from 0 without end; the result depends on the seed and this number only.
        """
        if step < 0:
            raise ValueError(f"step {step} is negative")
        window = step // WINDOW_STEPS
        if self._window is None or self._window[0] != window:
            self._window = (window, self._make_window(window))
        indices: NDArray[np.int64] = self._window[1][step % WINDOW_STEPS].copy()
        return indices

    def _make_window(self, window: int) -> NDArray[np.int64]:
        """Return all batches of a window, shape (WINDOW_STEPS, K*B)."""
        ranked = np.concatenate([self._ranked_batches(domain, window) for domain in range(self.num_domains)], axis=1)
        order = np.random.default_rng([self._seed, _RANK_STREAM, window]).permutation(WINDOW_STEPS)
        return ranked[order]

    def _ranked_batches(self, domain: int, window: int) -> NDArray[np.int64]:
        """Return one domain's batches of a window, short ones first, shape (WINDOW_STEPS, B)."""
        size = WINDOW_STEPS * self._batch_size
        sequence = self._sequence(domain, window * size, size)
        # Sorting more than one pass would put copies of an example side by side, so a small domain is sorted in
        # chunks of at most a pass, whose batches are then ranked together.
        chunk = max(1, len(self._members[domain]) // self._batch_size) * self._batch_size
        for start in range(0, size, chunk):
            part = sequence[start : start + chunk]
            sequence[start : start + chunk] = part[np.argsort(self._lengths[part], kind="stable")]
        batches = sequence.reshape(WINDOW_STEPS, self._batch_size)
        ranked: NDArray[np.int64] = batches[np.argsort(self._lengths[batches].mean(axis=1), kind="stable")]
        return ranked

    def _sequence(self, domain: int, start: int, size: int) -> NDArray[np.int64]:
        """Return a stretch of the domain's endless sequence, shape (size,)."""
        length = len(self._members[domain])
        stretches = []
        for number in range(start // length, (start + size - 1) // length + 1):
            offset = start - number * length
            stretches.append(self._pass(domain, number)[max(0, offset) : offset + size])
        return np.concatenate(stretches)

    def _pass(self, domain: int, number: int) -> NDArray[np.int64]:
        """Return all examples of a domain in the order of one pass; callers leave it as it is."""
        latest = self._latest.get(domain)
        if latest is None or latest[0] != number:
            generator = np.random.default_rng([self._seed, _PASS_STREAM, domain, number])
            latest = self._latest[domain] = (number, generator.permutation(self._members[domain]))
        return latest[1]
