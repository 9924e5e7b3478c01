"""The easy case that the meta graph must get right: one domain teaches nothing but noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrkd.losses import soft_cross_entropy
from hrkd.recipe import GraphConfig, GraphVariant, OuterLoss
from hrkd.relation import build_graph
from hrkd.training.outer import outer_direction, outer_loss, ratio_gradient, ratio_surrogate, without_noise

DOMAINS, BATCH, INPUTS, WIDTH, LABELS, NOISE = 3, 32, 12, 16, 4, 2
STEPS, UPDATE_EVERY, RATE = 300, 5, 3e-3
EVEN = 1 / DOMAINS


class Network(nn.Module):
    """Teacher and student alike: two levels and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(INPUTS, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.embedding(inputs)
        hidden = torch.tanh(self.layer(embedded))
        return torch.stack([embedded, hidden]), self.head(hidden)


class Batch:
    """Inputs around a centre per domain, and the teacher's answers; its states for domain NOISE are random numbers."""

    def __init__(self, teacher: Network, centres: Tensor) -> None:
        self.inputs = (centres.unsqueeze(1) + torch.randn(DOMAINS, BATCH, INPUTS)).flatten(0, 1)
        with torch.no_grad():
            self.states, self.logits = teacher(self.inputs)
        self.states.unflatten(1, (DOMAINS, BATCH))[:, NOISE] = torch.randn(2, BATCH, WIDTH)


class Distillation:
    """A student that learns by imitation, with its graph in the same optimizer, as the training loop does it."""

    def __init__(self, variant: GraphVariant) -> None:
        torch.manual_seed(0)
        self.teacher, self.student = Network().requires_grad_(requires_grad=False), Network()
        for parameter in self.teacher.parameters():
            parameter.mul_(2.0)
        self.student.head.load_state_dict(self.teacher.head.state_dict())
        self.centres = torch.randn(DOMAINS, INPUTS)
        self.graph = build_graph(GraphConfig(variant=variant), 2, DOMAINS, WIDTH)
        groups = [{"params": list(self.student.parameters()), "lr": RATE}]
        trainable = [parameter for parameter in self.graph.parameters() if parameter.requires_grad]
        self.learns = bool(trainable)
        groups += [{"params": trainable, "lr": 1e-2}] if trainable else []
        self.optimizer = torch.optim.AdamW(groups)

    def compare(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return imitation terms (2, K), prediction terms (K,), prototypes (2, K, WIDTH)."""
        states, logits = self.student(batch.inputs)
        errors = F.mse_loss(states, batch.states, reduction="none").mean(dim=-1).unflatten(1, (DOMAINS, BATCH))
        prototypes = states.unflatten(1, (DOMAINS, BATCH)).mean(dim=2)
        return errors.mean(dim=-1), soft_cross_entropy(logits, batch.logits, DOMAINS), prototypes

    def step(self) -> tuple[Batch, Tensor]:
        batch = Batch(self.teacher, self.centres)
        terms, prediction, prototypes = self.compare(batch)
        ratios = self.graph(prototypes).domain_ratios.detach()
        ((ratios * terms).sum() + 0.1 * prediction.mean()).backward()
        self._apply()
        return batch, ratios

    def update_graph(self, batch: Batch) -> None:
        held_out = Batch(self.teacher, self.centres)
        with without_noise(self.student):
            loss = outer_loss(self.compare(held_out)[1], OuterLoss.AVERAGE)
            direction = outer_direction(loss, self.student)
        gradient = ratio_gradient(self.student, direction, lambda: self.compare(batch)[0], RATE)
        ratio_surrogate(gradient, self.graph(self.compare(batch)[2]).domain_ratios).backward()
        assert all(parameter.grad is None for parameter in self.student.parameters())
        self._apply()

    def _apply(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def run(self) -> tuple[Tensor, float]:
        """Return the mean ratios (2, K) of the last 100 steps, and the divergence from the teacher on clean domains."""
        history = []
        for number in range(1, STEPS + 1):
            batch, ratios = self.step()
            history.append(ratios)
            if self.learns and number % UPDATE_EVERY == 0:
                self.update_graph(batch)
        divergence = torch.zeros(DOMAINS)
        with torch.no_grad():
            for _ in range(20):
                batch = Batch(self.teacher, self.centres)
                entropy = soft_cross_entropy(batch.logits, batch.logits, DOMAINS)
                divergence += (self.compare(batch)[1] - entropy) / 20
        return torch.stack(history[-100:]).mean(dim=0), divergence[:NOISE].mean().item()


@pytest.fixture(scope="module")
def results() -> dict[GraphVariant, tuple[Tensor, float]]:
    return {variant: Distillation(variant).run() for variant in GraphVariant}


def test_meta_turns_away_from_the_noise(results: dict[GraphVariant, tuple[Tensor, float]]) -> None:
    """The whole chain at once: a sign wrong anywhere puts the weight on the noise, and accuracy hardly shows it."""
    ratios, _ = results[GraphVariant.META]
    assert float(ratios[:, NOISE].max()) < 0.6 * EVEN


def test_uniform_and_reference_do_not(results: dict[GraphVariant, tuple[Tensor, float]]) -> None:
    """What the released graph cannot do; if it could, the comparison above would show nothing."""
    torch.testing.assert_close(results[GraphVariant.UNIFORM][0], torch.full((2, DOMAINS), EVEN))
    assert float((results[GraphVariant.REFERENCE][0] - EVEN).abs().max()) < 0.1 * EVEN


def test_the_clean_domains_gain_from_it(results: dict[GraphVariant, tuple[Tensor, float]]) -> None:
    """Ratios that look right and change nothing would not be worth their cost."""
    divergence = {variant: result[1] for variant, result in results.items()}
    assert divergence[GraphVariant.META] < 0.8 * min(
        divergence[GraphVariant.UNIFORM], divergence[GraphVariant.REFERENCE]
    )
