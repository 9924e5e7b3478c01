"""The graph as the released code computes it, pinned by golden numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrkd.relation.domain_graph import DomainGraph, GraphOutput
from hrkd.relation.graph_attention import DomainAttention
from hrkd.relation.hierarchy import Hierarchy


class ReferenceGraph(DomainGraph):
    """The released computation, its parameters frozen at their random start because no optimizer ever had them.

    Args:
        levels: L+1.
        hidden_size: Width of the projected hidden states, i.e. the teacher's.
        hierarchy: What the prototypes go through first.
    """

    def __init__(self, levels: int, hidden_size: int, hierarchy: Hierarchy) -> None:
        super().__init__()
        self.hierarchy = hierarchy
        self.attention = nn.ModuleList(DomainAttention(hidden_size) for _ in range(levels))
        self.requires_grad_(requires_grad=False)

    def compute(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios; gradients flow to the prototypes, as in the released code."""
        aggregated, hierarchical_ratios = self.hierarchy(prototypes)
        scores = [attention(level) for attention, level in zip(self.attention, aggregated, strict=True)]
        return GraphOutput(torch.stack(scores).softmax(dim=-1), hierarchical_ratios)
