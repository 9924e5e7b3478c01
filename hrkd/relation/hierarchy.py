"""How a level looks back at the levels below it: compare-aggregate (HRKD section 3.3) and its ablations."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Hierarchy(nn.Module, ABC):
    """Mixes the prototypes of the levels 0..l into one vector per domain and level; level 0 passes through."""

    @abstractmethod
    def forward(self, prototypes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Aggregate.

        Args:
            prototypes: (L+1, K, H).

        Returns:
            Aggregated prototypes (L+1, K, H), and per level l >= 1 the weights (K, l+1) of the levels 0..l.
        """


class CompareAggregate(Hierarchy):
    """Each domain weighs its own levels by comparison with what it shares with the other domains.

    Self-attention over domains gives a reference prototype, ``ref[l] = softmax(P[l] W1[l] P[l]^T) P[l]``; a domain
    compares it with its own prototypes of all levels up to l, ``c[l,k,j] = P[j,k] . (W2[l,k] ref[l,k])``, and
    aggregates them by ``softmax_j(c)`` (method.md section 3).

    Args:
        levels: L+1.
        domain_weights: How many W2 a level has: K as in the paper, or 1 that all domains share.
        hidden_size: H.
        self_attention: Off: a domain's reference prototype is its own prototype (the paper's ablation).
        scale: Factor on both products before their softmax; 1 as released.
    """

    def __init__(
        self, levels: int, domain_weights: int, hidden_size: int, *, self_attention: bool = True, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.reference_weight = _weights(levels, hidden_size, hidden_size) if self_attention else None  # W1
        self.compare_weight = _weights(levels, domain_weights, hidden_size, hidden_size)  # W2

    def forward(self, prototypes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Aggregate by comparison."""
        aggregated, hierarchical_ratios = [prototypes[0]], []
        for level in range(1, len(prototypes)):
            reference = self._reference(prototypes, level).unsqueeze(-1)  # (K, H, 1)
            target = (self.compare_weight[level - 1] @ reference).squeeze(-1)  # (K, H)
            history = prototypes[: level + 1]  # (l+1, K, H)
            ratios = (self.scale * torch.einsum("jkh,kh->kj", history, target)).softmax(dim=-1)  # (K, l+1)
            aggregated.append(torch.einsum("kj,jkh->kh", ratios, history))
            hierarchical_ratios.append(ratios)
        return torch.stack(aggregated), tuple(hierarchical_ratios)

    def _reference(self, prototypes: Tensor, level: int) -> Tensor:
        """Return the reference prototypes of one level, (K, H)."""
        current = prototypes[level]
        if self.reference_weight is None:
            return current
        similarity = self.scale * (current @ self.reference_weight[level - 1] @ current.T)  # (K, K)
        return similarity.softmax(dim=-1) @ current


class AverageLevels(Hierarchy):
    """The plain mean of the levels 0..l: the paper's ablation of compare-aggregate."""

    def forward(self, prototypes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Average."""
        counts = torch.arange(1, len(prototypes) + 1, dtype=prototypes.dtype, device=prototypes.device)
        aggregated = prototypes.cumsum(dim=0) / counts.view(-1, 1, 1)
        levels, num_domains, _ = prototypes.shape
        equal = tuple(prototypes.new_full((num_domains, count), 1.0 / count) for count in range(2, levels + 1))
        return aggregated, equal


class OwnLevel(Hierarchy):
    """No look back: the ablation without a hierarchy."""

    def forward(self, prototypes: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pass the prototypes on."""
        return prototypes, ()


def _weights(levels: int, *shape: int) -> nn.Parameter:
    """Return the stacked matrices of the levels 1..L, each drawn on its own: a fan over the stack would be wrong."""
    stacked = torch.empty(levels, *shape)
    for matrix in stacked.view(-1, *shape[-2:]):
        nn.init.xavier_uniform_(matrix, gain=1.414)
    return nn.Parameter(stacked[1:].clone())  # level 0 is drawn as in the released code: a seed gives the same graph
