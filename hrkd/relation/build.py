"""From the recipe's words to a graph."""

from __future__ import annotations

from functools import partial

from hrkd.recipe import Aggregate, GraphConfig, GraphVariant
from hrkd.relation.domain_graph import DomainGraph, UniformGraph
from hrkd.relation.hierarchy import AverageLevels, CompareAggregate, Hierarchy, OwnLevel
from hrkd.relation.meta_graph import MetaGraph
from hrkd.relation.reference_graph import ReferenceGraph


def build_graph(config: GraphConfig, levels: int, num_domains: int, hidden_size: int) -> DomainGraph:
    """Build the graph that a recipe asks for.

    Args:
        config: Variant, ablations, and the floor of ``meta``.
        levels: L+1.
        num_domains: K.
        hidden_size: Width of the projected hidden states, i.e. the teacher's.
    """
    match config.variant:
        case GraphVariant.UNIFORM:
            return UniformGraph()
        case GraphVariant.REFERENCE:
            return ReferenceGraph(levels, hidden_size, _hierarchy(config, levels, num_domains, hidden_size, 1.0))
        case GraphVariant.META:  # one comparison for all domains, so that their order is free (docs/decisions.md)
            return MetaGraph(levels, hidden_size, partial(_hierarchy, config, levels, 1), config.floor)


def _hierarchy(config: GraphConfig, levels: int, domain_weights: int, width: int, scale: float) -> Hierarchy:
    if not config.hierarchy:
        return OwnLevel()
    if config.aggregate is Aggregate.AVERAGE:
        return AverageLevels()
    return CompareAggregate(levels, domain_weights, width, self_attention=config.self_attention, scale=scale)
