"""Hierarchical compare-aggregate: each level looks back at the levels below it (HRKD section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CompareAggregate(nn.Module):
    """Mix the prototypes of levels 0..l into one vector per domain and level.

    Self-attention over domains gives a reference prototype, ``ref[l] = softmax(P[l] W1[l] P[l]^T) P[l]``; a domain
    compares it with its own prototypes of all levels up to l, ``c[l,k,j] = P[j,k] . (W2[l,k] ref[l,k])``, and
    aggregates them by ``softmax_j(c)``. Level 0 passes through.

    Args:
        levels: L+1.
        num_domains: K.
        hidden_size: H.
    """

    def __init__(self, levels: int, num_domains: int, hidden_size: int) -> None:
        super().__init__()
        self.reference_weight = nn.Parameter(torch.empty(levels, hidden_size, hidden_size))  # W1
        self.compare_weight = nn.Parameter(torch.empty(levels, num_domains, hidden_size, hidden_size))  # W2
        for weight in (self.reference_weight, self.compare_weight):
            for matrix in weight.data.view(-1, hidden_size, hidden_size):
                nn.init.xavier_uniform_(matrix, gain=1.414)

    def forward(self, prototypes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Aggregate.

        Args:
            prototypes: (L+1, K, H).

        Returns:
            Aggregated prototypes (L+1, K, H), and per level l >= 1 the weights (K, l+1) of the levels 0..l.
        """
        aggregated, hierarchical_ratios = [prototypes[0]], []
        for level in range(1, len(prototypes)):
            current = prototypes[level]
            similarity = current @ self.reference_weight[level] @ current.T  # (K, K)
            reference = similarity.softmax(dim=-1) @ current  # (K, H)
            target = torch.einsum("khg,kg->kh", self.compare_weight[level], reference)
            history = prototypes[: level + 1]  # (l+1, K, H)
            ratios = torch.einsum("jkh,kh->kj", history, target).softmax(dim=-1)  # (K, l+1)
            aggregated.append(torch.einsum("kj,jkh->kh", ratios, history))
            hierarchical_ratios.append(ratios)
        return torch.stack(aggregated), hierarchical_ratios
