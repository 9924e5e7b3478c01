"""The domain-relational graph: prototypes, hierarchical compare-aggregate, graph attention, domain ratios."""

from __future__ import annotations

from hrkd.relation.domain_graph import DomainGraph, GraphOutput, ReferenceGraph, UniformGraph, build_graph
from hrkd.relation.prototypes import domain_prototypes

__all__ = ["DomainGraph", "GraphOutput", "ReferenceGraph", "UniformGraph", "build_graph", "domain_prototypes"]
