"""The domain-relational graph: prototypes, hierarchical compare-aggregate, graph attention, domain ratios."""

from __future__ import annotations

from hrkd.relation.build import build_graph
from hrkd.relation.domain_graph import DomainGraph, GraphOutput, UniformGraph
from hrkd.relation.meta_graph import MetaGraph
from hrkd.relation.prototypes import domain_prototypes
from hrkd.relation.reference_graph import ReferenceGraph

__all__ = [
    "DomainGraph",
    "GraphOutput",
    "MetaGraph",
    "ReferenceGraph",
    "UniformGraph",
    "build_graph",
    "domain_prototypes",
]
