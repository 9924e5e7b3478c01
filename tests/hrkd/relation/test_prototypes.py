"""Prototypes as the golden numbers pin them, in the memory of one level."""

from __future__ import annotations

import torch

from hrkd.relation import domain_prototypes
from largest_tensor import LargestTensor

LEVELS, DOMAINS, BATCH, TOKENS, WIDTH = 5, 3, 4, 7, 8


def test_levels_are_reduced_one_after_the_other() -> None:
    """Two more copies of all hidden states fit on no GPU that the step alone just fits on."""
    states = [torch.randn(DOMAINS * BATCH, TOKENS, WIDTH) for _ in range(LEVELS)]
    mask = (torch.arange(TOKENS) < torch.randint(1, TOKENS, (DOMAINS * BATCH, 1))).long()
    with LargestTensor() as largest:
        found = domain_prototypes(states, mask, DOMAINS)
    assert largest.values == states[0].numel()
    rows = slice(BATCH, 2 * BATCH)
    torch.testing.assert_close(found[3, 1], states[3][rows][mask[rows].bool()].mean(dim=0))
