"""Domain ratios: how much each domain counts at each level. Variants behind one interface, chosen in the recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hrkd.relation.graph_attention import DomainAttention
from hrkd.relation.hierarchy import CompareAggregate


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """What a graph says about one step.

    Attributes:
        domain_ratios: ``R[l, k]``, (L+1, K); sums to 1 over domains.
        hierarchical_ratios: Per level l >= 1 the compare-aggregate weights (K, l+1); empty without a hierarchy.
    """

    domain_ratios: Tensor
    hierarchical_ratios: tuple[Tensor, ...] = ()


class DomainGraph(nn.Module, ABC):
    """Interface of the variants: prototypes (L+1, K, H) in, :class:`GraphOutput` out."""

    @abstractmethod
    def forward(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios for one step's prototypes."""


class UniformGraph(DomainGraph):
    """``R = 1/K``: no graph, at the loss scale of one."""

    def forward(self, prototypes: Tensor) -> GraphOutput:
        """Return equal ratios."""
        return GraphOutput(torch.full_like(prototypes[..., 0], 1.0 / prototypes.shape[1]))


class ReferenceGraph(DomainGraph):
    """The released computation, its parameters frozen at their random start because no optimizer ever had them.

    Args:
        levels: L+1.
        num_domains: K.
        hidden_size: Width of the projected hidden states, i.e. the teacher's.
        hierarchy: Whether prototypes go through compare-aggregate first.
    """

    def __init__(self, levels: int, num_domains: int, hidden_size: int, *, hierarchy: bool = True) -> None:
        super().__init__()
        self.hierarchy = CompareAggregate(levels, num_domains, hidden_size) if hierarchy else None
        self.attention = nn.ModuleList(DomainAttention(hidden_size) for _ in range(levels))
        self.requires_grad_(requires_grad=False)

    def forward(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios; gradients flow to the prototypes, as in the released code."""
        hierarchical_ratios: list[Tensor] = []
        if self.hierarchy is not None:
            prototypes, hierarchical_ratios = self.hierarchy(prototypes)
        scores = [attention(level) for attention, level in zip(self.attention, prototypes, strict=True)]
        return GraphOutput(torch.stack(scores).softmax(dim=-1), tuple(hierarchical_ratios))


def build_graph(variant: str, levels: int, num_domains: int, hidden_size: int) -> DomainGraph:
    """Build a graph by its recipe name; see :class:`ReferenceGraph` for the sizes."""
    if variant == "uniform":
        return UniformGraph()
    if variant == "reference":
        return ReferenceGraph(levels, num_domains, hidden_size)
    raise ValueError(f"unknown graph variant {variant!r}")
