"""Domain prototypes: where the texts of a domain lie on average, level by level (HRKD section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrkd.precision import at_least_float32


def domain_prototypes(hidden_states: Sequence[Tensor], token_mask: Tensor, num_domains: int) -> Tensor:
    """Return the mean hidden state of each domain at each level, ``P[l, k]``.

    The released code averages over padding as well; here padding has no weight, so the result does not depend on how
    long the longest text of a batch is (docs/decisions.md).

    Args:
        hidden_states: One (K*B, T, H) per level, already projected to the teacher's width; rows in domain order.
        token_mask: (K*B, T), 1 for real tokens.
        num_domains: K; the rows are K equal blocks.

    Returns:
        (L+1, K, H) float32.
    """
    # One level after the other: no second copy of all hidden states, which are most of a step's memory.
    totals = torch.stack([_token_totals(state, token_mask, num_domains) for state in hidden_states])
    counts = token_mask.unflatten(0, (num_domains, -1)).sum(dim=(1, 2)).to(totals.dtype)  # (K,)
    prototypes: Tensor = totals / counts.unsqueeze(-1)
    return prototypes


def _token_totals(state: Tensor, token_mask: Tensor, num_domains: int) -> Tensor:
    """Sum one level's (K*B, T, H) over the real tokens of each domain: (K, H)."""
    state = at_least_float32(state)
    weighted = state * token_mask.to(state.dtype).unsqueeze(-1)
    total: Tensor = weighted.sum(dim=1).unflatten(0, (num_domains, -1)).sum(dim=1)
    return total
