"""Properties of the domain graph that hold for any weights."""

from __future__ import annotations

import pytest
import torch

from hrkd.relation import ReferenceGraph, UniformGraph, build_graph

LEVELS, DOMAINS, WIDTH = 4, 5, 8


@pytest.mark.parametrize("variant", ["uniform", "reference"])
@pytest.mark.parametrize("training", [True, False])
def test_ratios_sum_to_one_per_level(variant: str, training: bool) -> None:
    """A softmax over levels instead of domains also gives positive weights, at another loss scale."""
    torch.manual_seed(0)
    graph = build_graph(variant, LEVELS, DOMAINS, WIDTH).train(training)
    ratios = graph(torch.randn(LEVELS, DOMAINS, WIDTH)).domain_ratios
    assert ratios.shape == (LEVELS, DOMAINS)
    torch.testing.assert_close(ratios.sum(dim=1), torch.ones(LEVELS))
    assert bool((ratios > 0).all())


def test_reference_graph_without_hierarchy_treats_domains_alike() -> None:
    """A graph that depends on the order of the domains would give different students for reordered data."""
    torch.manual_seed(1)
    graph = ReferenceGraph(LEVELS, DOMAINS, WIDTH, hierarchy=False).eval().double()
    prototypes = 3 * torch.randn(LEVELS, DOMAINS, WIDTH, dtype=torch.float64)
    order = torch.randperm(DOMAINS)
    permuted = graph(prototypes[:, order]).domain_ratios
    torch.testing.assert_close(permuted, graph(prototypes).domain_ratios[:, order])


def test_reference_ratios_are_uniform_without_dropout() -> None:
    """What this project rests on: the released graph cannot tell domains apart; its spread is dropout noise."""
    torch.manual_seed(2)
    graph = ReferenceGraph(LEVELS, DOMAINS, WIDTH)
    prototypes = 0.05 * torch.randn(LEVELS, DOMAINS, WIDTH) + 1.0
    spread = {
        training: float((graph.train(training)(prototypes).domain_ratios - 1 / DOMAINS).abs().max())
        for training in (False, True)
    }
    assert spread[False] < 1e-3 < spread[True]


def test_reference_graph_is_frozen_but_lets_gradients_through() -> None:
    """Its parameters are in no optimizer by definition; its inputs still shape the released gradients."""
    graph = ReferenceGraph(LEVELS, DOMAINS, WIDTH).eval()
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    prototypes = (4 * torch.randn(LEVELS, DOMAINS, WIDTH)).requires_grad_()
    graph(prototypes).domain_ratios.square().sum().backward()
    assert prototypes.grad is not None
    assert not any(parameter.requires_grad for parameter in UniformGraph().parameters())


def test_hierarchical_ratios_look_back_only() -> None:
    """Level l compares with levels 0..l; a row more would leak the levels above into it."""
    output = ReferenceGraph(LEVELS, DOMAINS, WIDTH).eval()(torch.randn(LEVELS, DOMAINS, WIDTH))
    shapes = [tuple(weights.shape) for weights in output.hierarchical_ratios]
    assert shapes == [(DOMAINS, 2), (DOMAINS, 3), (DOMAINS, 4)]


def test_unknown_variant_is_refused() -> None:
    """A misspelt variant must not fall back to some default."""
    with pytest.raises(ValueError, match="unifrm"):
        build_graph("unifrm", LEVELS, DOMAINS, WIDTH)
