"""The graph that can tell domains apart and is trained for transfer (method.md section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrkd.relation.domain_graph import DomainGraph, GraphOutput
from hrkd.relation.graph_attention import LEAKY_SLOPE
from hrkd.relation.hierarchy import Hierarchy

WIDTH = 64
"""Width of a node inside the graph: enough to tell a handful of domains apart, and free beside a student."""

HEADS = 4

REACH = 10.0
"""Products are means over the entries times this: one step of Adam at rate 0.01 moves none by more than 0.1."""

SMALLEST_CONTRAST = 1e-3
"""Domains closer than this, in units of a layer-normalised prototype, count as equal."""


class MetaGraph(DomainGraph):
    """Prototypes to ratios through dynamic attention; at first exactly uniform, and equivariant in the domains.

    Prototypes are detached, layer-normalised and brought to :data:`WIDTH` by a fixed random projection, which keeps
    distances and has nothing to learn; after the hierarchy each level keeps only how its domains differ
    (:func:`contrast`); then :class:`DynamicAttention`, one score per domain, and
    ``R = (1 - floor) * softmax(score) + floor / K``. No weight belongs to a domain, so the order of domains is free.

    Tens to hundreds of updates are all there are. Adam moves every weight alike, and a product of vectors by as much
    times its number of weights; :data:`REACH` keeps one update from deciding a softmax.

    Args:
        levels: L+1.
        hidden_size: Width of the projected hidden states, i.e. the teacher's.
        build_hierarchy: Makes the hierarchy for the given width and factor on its products.
        floor: Part of the weight that is spread evenly, in [0, 1).
    """

    def __init__(
        self, levels: int, hidden_size: int, build_hierarchy: Callable[[int, float], Hierarchy], floor: float
    ) -> None:
        super().__init__()
        self.floor = floor
        self.projection: Tensor  # one for all levels: the hierarchy compares them
        self.register_buffer("projection", torch.randn(hidden_size, WIDTH) / math.sqrt(hidden_size))
        self.hierarchy = build_hierarchy(WIDTH, REACH / WIDTH**2)
        self.attention = DynamicAttention(levels, WIDTH, heads=HEADS)
        self.readout = nn.Parameter(torch.zeros(levels, WIDTH))  # zero: the first ratios are uniform

    def compute(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios; gradients reach this module's parameters only."""
        normalized = F.layer_norm(prototypes.detach(), prototypes.shape[-1:])
        aggregated, hierarchical_ratios = self.hierarchy(normalized @ self.projection)
        nodes = F.elu(self.attention(contrast(aggregated)))  # (L+1, K, WIDTH)
        scores = torch.einsum("lkd,ld->lk", nodes, self.readout) * (REACH / WIDTH)
        ratios = (1.0 - self.floor) * scores.softmax(dim=-1) + self.floor / scores.shape[-1]
        return GraphOutput(ratios, hierarchical_ratios)


class DynamicAttention(nn.Module):
    """One layer of multi-head dynamic attention over the complete graph, plus a term of the node itself.

    ``e[i,j] = a . LeakyReLU(W_source x_i + W_neighbour x_j)`` (GATv2, arXiv 2105.14491 Eq. 7), softmax over j, and
    ``out_i = sum_j softmax(e)[i,j] W_neighbour x_j + W_self x_i``. With the non-linearity before ``a`` the ranking of
    neighbours depends on the node; the self term keeps nodes apart even where attention is even. Matrices have entries
    of variance 1 and their products are divided by the square root of the width, so that one step of Adam is small.

    Args:
        levels: L+1, each with weights of its own.
        width: Of a node, in and out.
        heads: Divides ``width``; their outputs are concatenated.
    """

    def __init__(self, levels: int, width: int, *, heads: int) -> None:
        super().__init__()
        self.source, self.neighbour, self.own = (nn.Parameter(torch.randn(levels, width, width)) for _ in range(3))
        self.score = nn.Parameter(torch.randn(levels, heads, width // heads) / math.sqrt(width // heads))

    def forward(self, nodes: Tensor) -> Tensor:
        """Map (L+1, K, width) to (L+1, K, width)."""
        heads = self.score.shape[1]
        nodes = nodes / math.sqrt(nodes.shape[-1])
        source = (nodes @ self.source).unflatten(-1, (heads, -1))  # (L+1, K, heads, d)
        neighbour = (nodes @ self.neighbour).unflatten(-1, (heads, -1))
        pairs = F.leaky_relu(source.unsqueeze(2) + neighbour.unsqueeze(1), LEAKY_SLOPE)  # (L+1, K, K, heads, d)
        attention = torch.einsum("lijhd,lhd->lijh", pairs, self.score).softmax(dim=2)
        mixed = torch.einsum("lijh,ljhd->lihd", attention, neighbour).flatten(2)
        return mixed + nodes @ self.own


def contrast(nodes: Tensor) -> Tensor:
    """Return how the domains of each level differ: centred over domains, at a root mean square of one per level.

    Averages over whole batches are nearly parallel; what they share would drown what tells them apart.

    Args:
        nodes: (L+1, K, D).

    Returns:
        (L+1, K, D); zeros where all domains are equal.
    """
    centred = nodes - nodes.mean(dim=1, keepdim=True)
    size = (centred.square().mean(dim=(1, 2), keepdim=True) + SMALLEST_CONTRAST**2).sqrt()
    return centred / size
