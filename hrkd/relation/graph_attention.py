"""Static graph attention over the complete graph of domains (Velickovic et al. 2018, as the released HRKD uses it)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.2


class GraphAttention(nn.Module):
    """One multi-head layer: ``e[i,j] = LeakyReLU(a_source.Wh_i + a_neighbour.Wh_j)``, softmax over j, weighted sum.

    On a complete graph ``a_source.Wh_i`` cancels in the softmax wherever LeakyReLU is linear, so every node gets the
    same output: the reason why the released ratios are uniform (method.md section 5).

    Args:
        in_features: Width of a node.
        out_features: Width of one head's output.
        heads: Number of heads; their outputs are concatenated.
        dropout: On the attention weights.
    """

    def __init__(self, in_features: int, out_features: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, in_features, out_features))
        self.source = nn.Parameter(torch.empty(heads, out_features, 1))
        self.neighbour = nn.Parameter(torch.empty(heads, out_features, 1))
        self.dropout = dropout
        for parameter in (self.weight, self.source, self.neighbour):
            for matrix in parameter:
                nn.init.xavier_uniform_(matrix, gain=1.414)

    def forward(self, nodes: Tensor) -> Tensor:
        """Map (K, in_features) to (K, heads * out_features)."""
        projected = nodes @ self.weight  # (heads, K, out)
        scores = projected @ self.source + (projected @ self.neighbour).transpose(1, 2)  # (heads, K, K)
        attention = F.leaky_relu(scores, LEAKY_SLOPE).softmax(dim=-1)
        attention = F.dropout(attention, self.dropout, self.training)
        return (attention @ projected).permute(1, 0, 2).flatten(1)


class DomainAttention(nn.Module):
    """Two attention layers that turn K prototypes into K numbers.

    Args:
        hidden_size: H.
        heads: Heads of the first layer, each of width H.
        dropout: On nodes and attention weights.
    """

    def __init__(self, hidden_size: int, *, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.first = GraphAttention(hidden_size, hidden_size, heads=heads, dropout=dropout)
        self.second = GraphAttention(heads * hidden_size, 1, heads=1, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, prototypes: Tensor) -> Tensor:
        """Map (K, H) to one score per domain (K,)."""
        nodes = F.elu(self.first(self.dropout(prototypes)))
        return F.elu(self.second(self.dropout(nodes))).squeeze(-1)
