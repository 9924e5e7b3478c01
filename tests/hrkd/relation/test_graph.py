"""Properties of every domain graph that hold for any weights, under every ablation switch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hrkd.recipe import Aggregate, GraphConfig, GraphVariant
from hrkd.relation import DomainGraph, MetaGraph, ReferenceGraph, UniformGraph, build_graph
from hrkd.relation.hierarchy import AverageLevels, CompareAggregate

LEVELS, DOMAINS, WIDTH = 4, 5, 8
ABLATIONS = {
    "complete": {},
    "no_self_attention": {"self_attention": False},
    "average": {"aggregate": Aggregate.AVERAGE},
    "no_hierarchy": {"hierarchy": False},
}
ablations = pytest.mark.parametrize("ablation", list(ABLATIONS))
with_weights = pytest.mark.parametrize("variant", [GraphVariant.REFERENCE, GraphVariant.META])


def make_graph(variant: GraphVariant, ablation: str = "complete", *, seed: int = 0) -> DomainGraph:
    """Build a graph in float64 with no weight at zero, so that its ratios depend on the prototypes."""
    torch.manual_seed(seed)
    graph = build_graph(GraphConfig(variant=variant, **ABLATIONS[ablation]), LEVELS, DOMAINS, WIDTH)
    if isinstance(graph, MetaGraph):
        nn.init.normal_(graph.readout, std=3.0)
    return graph.double()


def make_prototypes(scale: float = 3.0) -> Tensor:
    return scale * torch.randn(LEVELS, DOMAINS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", list(GraphVariant))
@ablations
@pytest.mark.parametrize("training", [True, False])
def test_ratios_sum_to_one_per_level(variant: GraphVariant, ablation: str, training: bool) -> None:
    """An ablation at another loss scale (the released "without graph" is K times the loss) compares scales."""
    ratios = make_graph(variant, ablation).train(training)(make_prototypes()).domain_ratios
    assert ratios.shape == (LEVELS, DOMAINS)
    torch.testing.assert_close(ratios.sum(dim=1), torch.ones(LEVELS, dtype=torch.float64))
    assert bool((ratios > 0).all())


@with_weights
@ablations
def test_permuting_domains_permutes_ratios(variant: GraphVariant, ablation: str) -> None:
    """A graph that depends on the order of the domains would give different students for reordered data."""
    graph, prototypes = make_graph(variant, ablation).eval(), make_prototypes()
    order = torch.tensor([2, 0, 4, 1, 3])
    graph.requires_grad_(requires_grad=False)
    before = graph(prototypes)
    if isinstance(graph, ReferenceGraph) and isinstance(graph.hierarchy, CompareAggregate):
        weight = graph.hierarchy.compare_weight  # the paper's W2[l,k] belongs to a domain and moves with it
        weight.data = weight.data[:, order]
    after = graph(prototypes[:, order])
    torch.testing.assert_close(after.domain_ratios, before.domain_ratios[:, order])
    for permuted, original in zip(after.hierarchical_ratios, before.hierarchical_ratios, strict=True):
        torch.testing.assert_close(permuted, original[order])
    hierarchical = [weights.T for weights in before.hierarchical_ratios]
    spread = [by_domain.amax(-1) - by_domain.amin(-1) for by_domain in (before.domain_ratios, *hierarchical)]
    assert max(part.max().item() for part in spread) > 1e-3, "equal domains would pass this test"


@with_weights
@pytest.mark.parametrize("ablation", ["complete", "no_self_attention", "average"])
def test_hierarchical_ratios_look_back_only(variant: GraphVariant, ablation: str) -> None:
    """Level l compares with levels 0..l; a row more would leak the levels above into it."""
    graph, prototypes = make_graph(variant, ablation).eval(), make_prototypes()
    output = graph(prototypes)
    shapes = [tuple(weights.shape) for weights in output.hierarchical_ratios]
    assert shapes == [(DOMAINS, 2), (DOMAINS, 3), (DOMAINS, 4)]
    for weights in output.hierarchical_ratios:
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(DOMAINS, dtype=torch.float64))
    prototypes[-1] += 5.0 * torch.randn(DOMAINS, WIDTH)
    changed = graph(prototypes)
    assert torch.equal(changed.domain_ratios[:-1], output.domain_ratios[:-1])
    if variant is GraphVariant.META:  # the ratios of the reference stay uniform
        assert not torch.equal(changed.domain_ratios[-1], output.domain_ratios[-1])


@with_weights
def test_without_hierarchy_a_level_stands_alone(variant: GraphVariant) -> None:
    """A switch that is read and then ignored publishes the complete graph as its own ablation."""
    graph, prototypes = make_graph(variant, "no_hierarchy").eval(), make_prototypes()
    output = graph(prototypes)
    assert output.hierarchical_ratios == ()
    prototypes[0] = torch.randn(DOMAINS, WIDTH)
    assert torch.equal(graph(prototypes).domain_ratios[1:], output.domain_ratios[1:])


def test_self_attention_is_what_lets_other_domains_into_the_comparison() -> None:
    """Without it a domain compares with its own prototype; the switch must cut the others off, and only it."""
    prototypes = make_prototypes(0.5)
    for self_attention in (True, False):
        torch.manual_seed(0)
        hierarchy = CompareAggregate(LEVELS, DOMAINS, WIDTH, self_attention=self_attention).double()
        before = hierarchy(prototypes)[1][-1][0]
        others = prototypes.clone()
        others[:, 1:] = torch.randn(LEVELS, DOMAINS - 1, WIDTH)
        assert torch.equal(hierarchy(others)[1][-1][0], before) is not self_attention
    assert hierarchy.reference_weight is None, "an unused weight would be trained, decayed and counted"


def test_the_lowest_level_has_no_weights_and_a_seed_gives_the_others_as_ever() -> None:
    """Weights that nothing reads are allocated, decayed and kept in every checkpoint; other draws are another graph."""
    torch.manual_seed(4)
    hierarchy = CompareAggregate(LEVELS, DOMAINS, WIDTH)
    torch.manual_seed(4)
    drawn = [nn.init.xavier_uniform_(torch.empty(WIDTH, WIDTH), gain=1.414) for _ in range(LEVELS * (1 + DOMAINS))]
    assert hierarchy.reference_weight is not None
    assert torch.equal(hierarchy.reference_weight, torch.stack(drawn[1:LEVELS]))
    assert torch.equal(hierarchy.compare_weight.flatten(0, 1), torch.stack(drawn[LEVELS + DOMAINS :]))


def test_average_is_the_mean_of_the_levels_so_far() -> None:
    """A mean over all levels would look ahead."""
    prototypes = make_prototypes()
    aggregated, ratios = AverageLevels()(prototypes)
    for level in range(LEVELS):
        torch.testing.assert_close(aggregated[level], prototypes[: level + 1].mean(dim=0))
    torch.testing.assert_close(ratios[1], torch.full((DOMAINS, 3), 1 / 3, dtype=torch.float64))


def test_reference_ratios_are_uniform_without_dropout_and_meta_ratios_are_not() -> None:
    """What this project rests on: the released graph cannot tell domains apart; its spread is dropout noise."""
    prototypes = 1.0 + 0.05 * make_prototypes(1.0)
    reference, meta = make_graph(GraphVariant.REFERENCE), make_graph(GraphVariant.META)
    spread = {
        (graph, training): float((graph.train(training)(prototypes).domain_ratios.detach() - 1 / DOMAINS).abs().max())
        for graph in (reference, meta)
        for training in (False, True)
    }
    assert spread[reference, False] < 1e-3 < spread[reference, True]
    assert spread[meta, False] == spread[meta, True] > 0.05


@with_weights
def test_half_precision_around_the_graph_does_not_reach_it(variant: GraphVariant) -> None:
    """Prototypes differ by percents, which is what bfloat16 rounds away."""
    graph, prototypes = make_graph(variant).eval().float(), make_prototypes(0.5).float()
    expected = graph(prototypes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = graph(prototypes)
    assert torch.equal(output.domain_ratios, expected.domain_ratios)
    assert all(map(torch.equal, output.hierarchical_ratios, expected.hierarchical_ratios))


def test_reference_graph_is_frozen_but_lets_gradients_through() -> None:
    """Its parameters are in no optimizer by definition; its inputs still shape the released gradients."""
    graph = make_graph(GraphVariant.REFERENCE).eval()
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    prototypes = make_prototypes(4.0).requires_grad_()
    graph(prototypes).domain_ratios.square().sum().backward()
    assert prototypes.grad is not None
    assert not any(parameter.requires_grad for parameter in UniformGraph().parameters())
