"""The meta graph: where it starts, what it may not depend on, how far it may go, and that all of it can learn."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from hrkd.recipe import Aggregate, GraphConfig, GraphVariant
from hrkd.relation import build_graph
from hrkd.relation.meta_graph import DynamicAttention, MetaGraph, contrast

LEVELS, DOMAINS, WIDTH = 3, 4, 24


def make_meta(*, readout: float = 1.0, **config: object) -> MetaGraph:
    """Build a meta graph in float64, its readout drawn with the given deviation."""
    torch.manual_seed(0)
    graph = build_graph(GraphConfig(variant=GraphVariant.META, **config), LEVELS, DOMAINS, WIDTH).double()  # type: ignore[arg-type]
    assert isinstance(graph, MetaGraph)
    nn.init.normal_(graph.readout, std=readout)
    return graph


def make_prototypes(seed: int = 1) -> Tensor:
    return torch.randn(LEVELS, DOMAINS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_it_starts_uniform_and_its_first_gradient_is_not_zero() -> None:
    """A random start is an arbitrary preference that the student has paid for before the first outer update."""
    torch.manual_seed(0)
    graph = build_graph(GraphConfig(variant=GraphVariant.META), LEVELS, DOMAINS, WIDTH)
    ratios = graph(make_prototypes().float()).domain_ratios
    torch.testing.assert_close(ratios, torch.full((LEVELS, DOMAINS), 1 / DOMAINS), rtol=0.0, atol=1e-7)
    ratios[:, 0].sum().backward()
    assert isinstance(graph, MetaGraph)
    assert graph.readout.grad is not None
    assert bool((graph.readout.grad.abs().amax(dim=1) > 1e-3).all())


@pytest.mark.parametrize("floor", [0.0, 0.2, 0.6])
def test_no_ratio_falls_below_its_floor(floor: float) -> None:
    """Without a floor one domain takes all, and the student forgets the others before the graph can notice."""
    ratios = make_meta(readout=1e4, floor=floor)(make_prototypes()).domain_ratios
    torch.testing.assert_close(ratios.min(), torch.tensor(floor / DOMAINS, dtype=torch.float64))
    torch.testing.assert_close(ratios.max(), torch.tensor(1 - floor + floor / DOMAINS, dtype=torch.float64))


def test_the_scale_of_prototypes_does_not_matter() -> None:
    """Hidden states grow with the level and during training; ratios that follow them would drift by themselves."""
    graph, prototypes = make_meta(), make_prototypes()
    scales = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64).view(-1, 1, 1)
    torch.testing.assert_close(
        graph(scales * prototypes).domain_ratios, graph(prototypes).domain_ratios, rtol=1e-3, atol=1e-3
    )


def test_nearly_parallel_domains_are_told_apart() -> None:
    """Averages over whole batches differ by percents; what they share would drown what tells them apart."""
    shared = make_prototypes(2)[:, :1]
    ratios = make_meta()(shared + 0.01 * make_prototypes()).domain_ratios
    assert bool((ratios.amax(dim=1) - ratios.amin(dim=1) > 0.01).all())


def test_equal_domains_get_equal_ratios() -> None:
    """Dividing a difference of zero by its own size would give NaN."""
    ratios = make_meta()(make_prototypes()[:, :1].expand(-1, DOMAINS, -1)).domain_ratios
    torch.testing.assert_close(ratios, torch.full_like(ratios, 1 / DOMAINS))
    assert bool((contrast(torch.zeros(2, 1, 3)) == 0).all())


@pytest.mark.parametrize(
    "ablation", [{}, {"self_attention": False}, {"aggregate": Aggregate.AVERAGE}, {"hierarchy": False}]
)
def test_every_parameter_learns_and_the_student_gets_no_gradient(ablation: dict[str, object]) -> None:
    """A gradient into prototypes would let the student lower its loss by moving domains about.

    A parameter without one would be trained by weight decay alone.
    """
    graph, prototypes = make_meta(**ablation), make_prototypes().requires_grad_()
    graph(prototypes).domain_ratios.square().sum().backward()
    assert prototypes.grad is None
    for name, parameter in graph.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 1e-9, name


def test_one_update_decides_nothing() -> None:
    """Weights that Adam moves by more than their size saturate every softmax within tens of updates.

    Seen on real prototypes: all weight on the own level, which is no hierarchy, and no gradient back from there.
    """
    torch.manual_seed(0)
    width = 768
    graph = build_graph(GraphConfig(variant=GraphVariant.META), LEVELS, DOMAINS, width)
    shared = torch.randn(LEVELS, 1, width)
    prototypes = shared + 0.2 * torch.randn(LEVELS, DOMAINS, width)
    optimizer = torch.optim.AdamW(graph.parameters(), lr=1e-2, weight_decay=0.0)
    history = []
    for _ in range(6):
        output = graph(prototypes)
        history.append([ratios.detach().log() for ratios in (output.domain_ratios, *output.hierarchical_ratios)])
        (output.domain_ratios[:, 0].sum() + sum(r[:, 0].sum() for r in output.hierarchical_ratios)).backward()
        optimizer.step()
        optimizer.zero_grad()
    moves = [max(float((b - a).abs().max()) for a, b in zip(*pair, strict=True)) for pair in pairwise(history)]
    assert min(moves) > 0.01
    assert max(moves) < 0.3


def test_no_parameter_belongs_to_a_domain() -> None:
    """Equivariance by construction, and a graph of the same size for 4 domains or 40."""
    few, many = (
        build_graph(GraphConfig(variant=GraphVariant.META), LEVELS, domains, WIDTH).state_dict() for domains in (2, 9)
    )
    assert {name: value.shape for name, value in few.items()} == {name: value.shape for name, value in many.items()}


def test_attention_agrees_with_its_equation() -> None:
    """The batched contraction against loops written from GATv2's Eq. 7: a swapped i and j still gives a softmax."""
    torch.manual_seed(3)
    heads, size = 2, 3
    layer = DynamicAttention(LEVELS, heads * size, heads=heads).double()
    nodes = make_prototypes()[..., : heads * size]
    actual = layer(nodes)
    nodes = nodes / (heads * size) ** 0.5
    for level in range(LEVELS):
        source, neighbour = nodes[level] @ layer.source[level], nodes[level] @ layer.neighbour[level]
        for i in range(DOMAINS):
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                energies = [
                    nn.functional.leaky_relu(source[i, part] + neighbour[j, part], 0.2) @ layer.score[level, head]
                    for j in range(DOMAINS)
                ]
                weights = torch.stack(energies).softmax(dim=0)
                expected = weights @ neighbour[:, part] + (nodes[level, i] @ layer.own[level])[part]
                torch.testing.assert_close(actual[level, i, part], expected)
