"""The outer objective: its gradient is the true one, nothing of the student changes, and only the graph learns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from hrkd.recipe import GraphConfig, GraphVariant, OuterLoss
from hrkd.relation import build_graph
from hrkd.training.outer import outer_direction, outer_loss, ratio_gradient, ratio_surrogate, without_noise

LEVELS, DOMAINS, BATCH, WIDTH, LABELS, RATE = 3, 4, 5, 6, 3, 0.05
NO_EVENNESS = {"evenness": 0.0}


class Student(nn.Module):
    """Two layers with dropout: the outputs of all levels, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LEVELS - 1))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        levels = [inputs]
        for layer in self.layers:
            levels.append(torch.tanh(layer(self.dropout(levels[-1]))))
        return torch.stack(levels), self.head(levels[-1])


class Toy:
    """A student in float64, an inner batch with targets for every level, and a held-out batch with labels."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.student = Student().double()
        self.ratios = torch.rand(LEVELS, DOMAINS, dtype=torch.float64).softmax(dim=-1).requires_grad_()
        self.inputs, self.held_out = torch.randn(2, DOMAINS * BATCH, WIDTH, dtype=torch.float64)
        self.targets = torch.randn(LEVELS, DOMAINS * BATCH, WIDTH, dtype=torch.float64)
        self.labels = torch.randint(LABELS, (DOMAINS * BATCH,))

    def by_domain(self, error: Tensor) -> Tensor:
        return error.unflatten(-1, (DOMAINS, BATCH)).mean(dim=-1)

    def terms(self, weights: dict[str, Tensor] | None = None) -> Tensor:
        states = functional_call(self.student, weights or {}, self.inputs)[0]
        return self.by_domain((states - self.targets).square().mean(dim=-1))

    def outer(self, kind: OuterLoss = OuterLoss.AVERAGE, weights: dict[str, Tensor] | None = None) -> Tensor:
        logits = functional_call(self.student, weights or {}, self.held_out)[1]
        return outer_loss(self.by_domain(F.cross_entropy(logits, self.labels, reduction="none")), kind)

    def direction(self) -> list[Tensor]:
        with without_noise(self.student):
            return outer_direction(self.outer(), self.student)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("kind", list(OuterLoss))
def test_gradient_agrees_with_autograd_through_one_step(kind: OuterLoss) -> None:
    """A sign, a factor 2 or a swapped level still trains the graph, towards something else."""
    toy = Toy()
    with without_noise(toy.student):
        named = dict(toy.student.named_parameters())
        inner = (toy.ratios * toy.terms()).sum()
        slopes = torch.autograd.grad(inner, list(named.values()), create_graph=True, materialize_grads=True)
        updated = {name: weight - RATE * slope for (name, weight), slope in zip(named.items(), slopes, strict=True)}
        (expected,) = torch.autograd.grad(toy.outer(kind, updated), toy.ratios)

        before = snapshot(toy.student)
        toy.student.load_state_dict({name: weight.detach() for name, weight in updated.items()})
        direction = outer_direction(toy.outer(kind), toy.student)
        toy.student.load_state_dict(before)
    actual = ratio_gradient(toy.student, direction, toy.terms, RATE, radius=1e-4)
    assert float(expected[1:].abs().min()) > 1e-6, "level 0 has no parameters here, the others must say something"
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-11)


def test_a_small_step_against_the_gradient_lowers_the_outer_loss() -> None:
    """The promise itself, without any formula: take the step with other ratios and measure."""
    toy = Toy()

    def after_a_step(ratios: Tensor) -> float:
        with without_noise(toy.student):
            named = dict(toy.student.named_parameters())
            slopes = torch.autograd.grad((ratios * toy.terms()).sum(), list(named.values()), materialize_grads=True)
            moved = {name: weight - RATE * slope for (name, weight), slope in zip(named.items(), slopes, strict=True)}
            return toy.outer(weights=moved).item()

    ratios = toy.ratios.detach()
    gradient = ratio_gradient(toy.student, toy.direction(), toy.terms, RATE)
    shift = 0.05 * gradient / gradient.abs().max()
    assert after_a_step(ratios - shift) < after_a_step(ratios) < after_a_step(ratios + shift)


@pytest.mark.parametrize("training", [True, False])
def test_the_student_is_left_bit_for_bit_as_it_was(training: bool) -> None:
    """Adding and subtracting a shift leaves rounding behind: measuring would change what is measured."""
    toy = Toy()
    toy.student.float().train(training)
    toy.student.layers[0].eval()  # a part that was frozen on purpose stays so
    toy.inputs, toy.targets, toy.held_out = toy.inputs.float(), toy.targets.float(), toy.held_out.float()
    before, random_state = snapshot(toy.student), torch.get_rng_state()
    direction = toy.direction()
    gradient = ratio_gradient(toy.student, direction, toy.terms, RATE)
    with pytest.raises(RuntimeError, match="out of memory"):
        ratio_gradient(toy.student, direction, _failing(toy.terms), RATE)
    assert float(gradient.abs().max()) > 0.0
    assert not gradient.requires_grad
    for name, value in snapshot(toy.student).items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [part.training for part in (toy.student, toy.student.layers[0], toy.student.dropout)] == [
        training,
        False,
        training,
    ]
    assert all(parameter.grad is None for parameter in toy.student.parameters())


def _failing(terms: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def fail() -> Tensor:
        terms()
        raise RuntimeError("out of memory")

    return fail


def test_dropout_and_random_numbers_cancel() -> None:
    """Noise between the two sides is divided by the small radius: it would drown the difference."""
    toy = Toy()
    direction = toy.direction()
    quiet = ratio_gradient(toy.student.eval(), direction, toy.terms, RATE)
    assert torch.equal(ratio_gradient(toy.student.train(), direction, toy.terms, RATE), quiet)
    noisy = ratio_gradient(toy.student, direction, lambda: toy.terms() + torch.randn(LEVELS, DOMAINS), RATE)
    torch.testing.assert_close(noisy, quiet, rtol=1e-6, atol=1e-12)


def test_autocast_of_the_caller_does_not_reach_the_difference() -> None:
    """In bfloat16 a shift of length 0.01 is below rounding: the gradient would be noise of the right size."""
    toy = Toy()
    toy.student.float()
    toy.inputs, toy.targets, toy.held_out = toy.inputs.float(), toy.targets.float(), toy.held_out.float()
    direction = toy.direction()
    expected = ratio_gradient(toy.student, direction, toy.terms, RATE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ratio_gradient(toy.student, direction, toy.terms, RATE), expected)


def test_frozen_parameters_are_neither_shifted_nor_asked_for() -> None:
    """A frozen embedding has no gradient: pairing the rest with the wrong directions would still have fitting sums."""
    toy = Toy()
    toy.student.layers[0].requires_grad_(requires_grad=False)
    gradient = ratio_gradient(toy.student, toy.direction(), toy.terms, RATE)
    assert bool((gradient[:2].abs() < 1e-12).all()), "level 1 rests on the frozen layer alone"
    assert float(gradient[2].abs().min()) > 1e-6


def test_no_direction_means_no_gradient() -> None:
    """The shift is divided by the direction's length."""
    toy = Toy()
    nowhere = [torch.zeros_like(parameter) for parameter in toy.student.parameters()]
    assert torch.equal(
        ratio_gradient(toy.student, nowhere, toy.terms, RATE), torch.zeros(LEVELS, DOMAINS, dtype=torch.float64)
    )


def test_outer_loss_is_the_mean_or_the_worst() -> None:
    """Both are a scalar of the same size; a mix-up shows in no curve."""
    losses = torch.tensor([0.1, 0.7, 0.4])
    assert outer_loss(losses, OuterLoss.AVERAGE).item() == pytest.approx(0.4)
    assert outer_loss(losses, OuterLoss.WORST).item() == pytest.approx(0.7)


def test_only_graph_parameters_get_gradients() -> None:
    """A gradient left on the student would be applied by the shared optimizer, clipping and schedule bypassed."""
    toy = Toy()
    torch.manual_seed(1)
    graph = build_graph(GraphConfig(variant=GraphVariant.META), LEVELS, DOMAINS, WIDTH).double()
    prototypes = toy.student(toy.inputs)[0].unflatten(1, (DOMAINS, BATCH)).mean(dim=2)
    assert prototypes.requires_grad
    gradient = ratio_gradient(toy.student, toy.direction(), toy.terms, RATE)
    ratio_surrogate(gradient, graph(prototypes).domain_ratios).backward()
    assert all(parameter.grad is None for parameter in toy.student.parameters())
    slope = graph.get_parameter("readout").grad
    assert slope is not None
    assert bool((slope[1:].abs().amax(dim=1) > 0).all())  # level 0 has no parameters here: no wish, no gradient


def test_surrogate_passes_on_the_direction_whatever_its_size() -> None:
    """The outer gradient falls with the learning rate; without a standard scale the graph would stop with it."""
    gradient = torch.tensor([[1.0, 2.0, 6.0], [0.5, -1.0, 0.5]], dtype=torch.float64)
    centred = gradient - gradient.mean(dim=1, keepdim=True)
    for scale in (1.0, 1e-12):
        ratios = torch.full((2, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
        ratio_surrogate(scale * gradient + 5.0 * scale, ratios, **NO_EVENNESS).backward()
        torch.testing.assert_close(ratios.grad, centred / centred.square().mean().sqrt())


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_gradient_without_differences_is_no_wish(value: float) -> None:
    """0 / 0 would be NaN in every weight of the graph; rounding blown up to size one would be a random wish."""
    ratios = torch.full((2, 3), 1 / 3, requires_grad=True)
    rounding = torch.tensor([[0.0, 1e-8, -1e-8], [1e-8, 0.0, 0.0]])
    ratio_surrogate(torch.full((2, 3), value) + value * rounding, ratios, **NO_EVENNESS).backward()
    assert ratios.grad is not None
    assert float(ratios.grad.abs().max()) < 1e-2


@pytest.mark.parametrize("evenness", [1.0, 3.0])
def test_ratios_rest_where_the_documentation_says(evenness: float) -> None:
    """Without the pull towards equal ratios any lasting preference, however small, ends with the winner taking all."""
    gradient = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    scores = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([scores], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        ratio_surrogate(gradient, scores.softmax(dim=-1), evenness=evenness).backward()
        optimizer.step()
    normalized = gradient / gradient.square().mean().sqrt()
    torch.testing.assert_close(scores.softmax(dim=-1), (-normalized / evenness).softmax(dim=-1), rtol=1e-4, atol=1e-6)
