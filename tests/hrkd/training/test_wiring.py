"""Wiring: what trains, what must not, and that the pieces are joined as the method says."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hrkd.data.collate import Batch
from hrkd.errors import RecipeError
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import load_encoder
from hrkd.models.student import build_student
from hrkd.recipe import GraphVariant, MethodConfig, StudentConfig, TrainingConfig
from hrkd.training.objective import DistillationObjective
from hrkd.training.optimization import build_optimizer, learning_rate_factor

CONFIG = ClassifierConfig(("books", "films", "phones"), ("neg", "pos"), 24, separator_id=3)


def make_batch(padding: int = 0) -> Batch:
    """Two texts of each of three domains, of several lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([5, 3, 6, 4, 2, 6])
    ids = torch.randint(5, 40, (6, 6), generator=generator)
    mask = (torch.arange(6) < lengths.unsqueeze(1)).long()
    return Batch(
        input_ids=nn.functional.pad(ids * mask, (0, padding)),
        attention_mask=nn.functional.pad(mask, (0, padding)),
        domain_ids=torch.tensor([0, 0, 1, 1, 2, 2]),
        labels=torch.tensor([0, 1, 0, 1, 1, 0]),
    )


def make_objective(tiny_encoder: Path, **method: object) -> DistillationObjective:
    torch.manual_seed(0)
    teacher = MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG)
    student = build_student(teacher, StudentConfig(layers=2))
    return DistillationObjective(teacher, student, MethodConfig(**method))  # type: ignore[arg-type]


@pytest.mark.parametrize("graph", list(GraphVariant))
def test_every_trainable_parameter_is_in_exactly_one_group(tiny_encoder: Path, graph: GraphVariant) -> None:
    """The released code forgot its graph: it ran for years at random weights, and nothing failed."""
    objective = make_objective(tiny_encoder, graph=graph)
    optimizer = build_optimizer(objective.trainable, TrainingConfig())
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    expected = [
        id(parameter)
        for module in (objective.model, objective.projections, objective.graph)
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    assert sorted(grouped) == sorted(expected)
    assert len(set(grouped)) == len(grouped)


def test_biases_and_norms_are_not_decayed(tiny_encoder: Path) -> None:
    """Decay on a layer norm's weight pulls it to 0 instead of 1."""
    objective = make_objective(tiny_encoder)
    decayed, free = build_optimizer(objective.trainable, TrainingConfig(weight_decay=0.5)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0.0)
    named = {id(parameter): name for name, parameter in objective.trainable.named_parameters()}
    free_names = [named[id(parameter)] for parameter in free["params"]]
    norms = [name for name in named.values() if "LayerNorm" in name or name.endswith("bias")]
    assert set(norms) - {name for name in norms if name.endswith("head_bias")} <= set(free_names)


def test_one_step_moves_every_trainable_parameter_and_nothing_of_the_teacher(tiny_encoder: Path) -> None:
    """A teacher that drifts, or a part without gradient, leaves the loss curve looking fine."""
    objective = make_objective(tiny_encoder, hidden_weight=1.0)
    teacher_before = {name: value.clone() for name, value in objective.teacher.state_dict().items()}
    before = {name: parameter.detach().clone() for name, parameter in objective.trainable.named_parameters()}
    optimizer = build_optimizer(objective.trainable, TrainingConfig(learning_rate=1e-2))
    objective.trainable.train()
    objective(make_batch()).loss.backward()
    assert objective.teacher.training is False
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    optimizer.step()
    for name, value in objective.teacher.state_dict().items():
        assert torch.equal(value, teacher_before[name]), name
    for name, parameter in objective.trainable.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("graph", list(GraphVariant))
def test_padding_does_not_change_the_whole_objective(tiny_encoder: Path, graph: GraphVariant) -> None:
    """Each term may be right alone while the model's own mask is not: the sum over a longer batch must be equal."""
    objective = make_objective(tiny_encoder, graph=graph, hidden_weight=1.0)
    objective.trainable.eval()
    short, long = objective(make_batch()), objective(make_batch(padding=9))
    torch.testing.assert_close(short.loss, long.loss, rtol=1e-5, atol=1e-5)
    for name, value in short.terms.items():
        torch.testing.assert_close(value, long.terms[name], rtol=1e-5, atol=1e-5)


def test_a_student_equal_to_its_teacher_has_no_imitation_error(tiny_encoder: Path) -> None:
    """A layer map shifted by one compares with the wrong layer and never reaches zero."""
    torch.manual_seed(0)
    teacher = MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG)
    student = build_student(teacher, StudentConfig(layers=4))
    objective = DistillationObjective(teacher, student, MethodConfig())
    objective.trainable.eval()
    terms = objective(make_batch()).terms
    for name in ("embedding", "hidden", "attention"):
        torch.testing.assert_close(terms[name], torch.zeros(()), rtol=0.0, atol=1e-9)


def test_other_numbers_of_heads_are_refused(tiny_encoder: Path) -> None:
    """Found before training, with the key that mends it."""
    teacher = MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG)
    student = build_student(teacher, StudentConfig(layers=2, attention_heads=2))
    with pytest.raises(RecipeError, match="2 attention heads, the teacher 4") as caught:
        DistillationObjective(teacher, student, MethodConfig())
    assert caught.value.hint == "set `student.attention_heads: 4`"


def test_learning_rate_rises_then_falls_to_zero() -> None:
    """A first step at rate 0 is wasted; a last one above 0 is not the schedule that was written down."""
    factors = [learning_rate_factor(step, 20, 0.1) for step in range(21)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[20] == 0.0
    assert all(after < before for before, after in itertools.pairwise(factors[2:]))
    assert learning_rate_factor(0, 5, 0.0) == 1.0


@pytest.mark.parametrize(("epochs", "evaluations", "total"), [(2.0, 2, 418), (0.1, 2, 3), (3.0, 1, 7)])
def test_the_last_step_is_evaluated_once_and_the_others_evenly(epochs: float, evaluations: int, total: int) -> None:
    """A last step that is never scored cannot be selected; two evaluations in a row waste a minute each."""
    config = TrainingConfig(epochs=epochs, evaluations_per_epoch=evaluations)
    points = [step for step in range(1, total + 1) if config.is_evaluation(step, total)]
    assert points[-1] == total
    assert len(points) == max(1, round(epochs * evaluations))
    gaps = np.diff([0, *points])
    assert gaps.max() - gaps.min() <= 1
