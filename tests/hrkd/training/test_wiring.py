"""Wiring: what trains, what must not, and that the pieces are joined as the method says."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
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
from hrkd.training.optimization import OuterSchedule, build_optimizer, learning_rate_factor, set_learning_rate
from hrkd.training.teacher_outputs import LiveTeacher, Wanted

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
        indices=torch.arange(6),
    )


def make_objective(tiny_encoder: Path, student: StudentConfig | None = None, **method: object) -> DistillationObjective:
    """All terms on, connected to a live teacher."""
    torch.manual_seed(0)
    teacher = MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG)
    weights = {"hidden_weight": 1.0, "attention_weight": 1.0, "label_weight": 1.0}
    config = MethodConfig.model_validate({**weights, **method})
    objective = DistillationObjective(teacher, build_student(teacher, student or StudentConfig(layers=2)), config)
    if objective.wanted is not None:
        objective.listen(LiveTeacher(teacher, objective.wanted))
    return objective


def outer_schedule_of(objective: DistillationObjective) -> OuterSchedule | None:
    """As `hrkd.training.connect` makes it, without batches."""
    if objective.config.graph.variant is not GraphVariant.META:
        return None
    parameters = tuple(objective.graph.parameters())
    return OuterSchedule(parameters, 0.5, 1, batches=None, update=objective.outer)  # type: ignore[arg-type]


@pytest.mark.parametrize("graph", list(GraphVariant))
def test_every_trainable_parameter_is_in_exactly_one_group(tiny_encoder: Path, graph: GraphVariant) -> None:
    """The released code forgot its graph: it ran for years at random weights, and nothing failed."""
    objective = make_objective(tiny_encoder, graph=graph)
    optimizer = build_optimizer(objective.trainable, TrainingConfig(), outer_schedule_of(objective))
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    expected = [
        id(parameter)
        for module in (objective.model, objective.trainable.projections, objective.graph)
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
    objective = make_objective(tiny_encoder, StudentConfig(layers=2, dropout=0.1))  # else the embeddings are equal
    teacher = objective.outputs.model
    teacher_before = {name: value.clone() for name, value in teacher.state_dict().items()}
    before = {name: parameter.detach().clone() for name, parameter in objective.trainable.named_parameters()}
    optimizer = build_optimizer(objective.trainable, TrainingConfig(learning_rate=1e-2))
    objective.trainable.train()
    objective(make_batch(), 0.0).loss.backward()
    assert teacher.training is False
    assert all(parameter.grad is None for parameter in teacher.parameters())
    optimizer.step()
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, teacher_before[name]), name
    for name, parameter in objective.trainable.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("graph", list(GraphVariant))
def test_padding_does_not_change_the_whole_objective(tiny_encoder: Path, graph: GraphVariant) -> None:
    """Each term may be right alone while the model's own mask is not: the sum over a longer batch must be equal."""
    objective = make_objective(tiny_encoder, graph=graph)
    objective.trainable.eval()
    short, long = objective(make_batch(), 0.0), objective(make_batch(padding=9), 0.0)
    torch.testing.assert_close(short.loss, long.loss, rtol=1e-5, atol=1e-5)
    for name, value in short.terms.items():
        torch.testing.assert_close(value, long.terms[name], rtol=1e-5, atol=1e-5)


def test_a_student_equal_to_its_teacher_has_no_imitation_error(tiny_encoder: Path) -> None:
    """A layer map shifted by one compares with the wrong layer and never reaches zero."""
    objective = make_objective(tiny_encoder, StudentConfig(layers=4))
    objective.trainable.eval()
    terms = objective(make_batch(), 0.0).terms
    for name in ("hidden", "attention"):
        torch.testing.assert_close(terms[name], torch.zeros(()), rtol=0.0, atol=1e-9)


def test_other_numbers_of_heads_are_refused(tiny_encoder: Path) -> None:
    """Found before training, with the key that mends it."""
    fewer = StudentConfig(layers=2, attention_heads=2)
    with pytest.raises(RecipeError, match="2 attention heads, the teacher 4") as caught:
        make_objective(tiny_encoder, fewer)
    assert caught.value.hint == "set `method.attention: relations`, or `student.attention_heads: 4`"
    make_objective(tiny_encoder, fewer, attention_weight=0.0)
    with pytest.raises(RecipeError, match="not a multiple of 3 relation heads"):
        make_objective(tiny_encoder, fewer, attention="relations", relation_heads=3)


def test_relations_train_a_student_of_another_width_and_number_of_heads(tiny_encoder: Path) -> None:
    """Student heads and teacher heads have other meanings; the relations of both must still meet."""
    shape = StudentConfig(layers=2, hidden_size=24, attention_heads=3, init="random")
    objective = make_objective(tiny_encoder, shape, attention="relations", relation_heads=4)
    result = objective(make_batch(), 0.0)
    result.loss.backward()
    assert result.terms["attention"] > 0
    assert all(parameter.grad is not None for parameter in objective.trainable.projections.parameters())


def test_the_outer_step_moves_the_graph_and_nothing_else(tiny_encoder: Path) -> None:
    """A graph trained on the inner loss favours the easiest domain; a student trained on the outer one cheats."""
    objective = make_objective(tiny_encoder, graph="meta")
    batch, held_out = make_batch(), make_batch(padding=2)
    objective.trainable.train()
    objective(batch, 0.0).loss.backward()
    assert all(parameter.grad is None for parameter in objective.graph.parameters())
    objective.trainable.zero_grad(set_to_none=True)
    before = {name: parameter.detach().clone() for name, parameter in objective.trainable.named_parameters()}
    objective.outer(batch, held_out, 0.0, 1e-3)
    optimizer = build_optimizer(objective.trainable, TrainingConfig(), outer_schedule_of(objective))
    optimizer.step()
    moved = {
        name for name, parameter in objective.trainable.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert moved
    assert all(name.startswith("graph.") for name in moved)


def test_the_graphs_learning_rate_does_not_follow_the_schedule(tiny_encoder: Path) -> None:
    """The warm-up of the student would stop the graph just when the domains differ most."""
    objective = make_objective(tiny_encoder, graph="meta")
    optimizer = build_optimizer(objective.trainable, TrainingConfig(), outer_schedule_of(objective))
    set_learning_rate(optimizer, 1e-9)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-9, 1e-9, 0.5]


def test_a_term_without_weight_is_not_computed_and_the_teacher_not_asked(tiny_encoder: Path) -> None:
    """Fine-tuning that runs its teacher costs twice as much as the baseline it is to be."""
    fine_tuning = make_objective(tiny_encoder, preset="fine_tune", hidden_weight=0.0, attention_weight=0.0)
    assert fine_tuning.wanted is None
    assert fine_tuning.outputs is None
    result = fine_tuning(make_batch(), 0.0)
    assert set(result.terms) == {"label"}
    assert result.domain_ratios is None
    logits_only = make_objective(tiny_encoder, hidden_weight=0.0, attention_weight=0.0)
    assert logits_only.wanted == Wanted((), hidden_states=False, attention=False)
    assert set(logits_only.trainable.children()) == {logits_only.model}


def test_equal_ratios_cost_no_prototypes(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control without a graph, which is the default, would pay for one; its ratios must stay those of K domains."""
    objective = make_objective(tiny_encoder, graph="uniform")
    monkeypatch.setattr("hrkd.training.objective.domain_prototypes", lambda *_: pytest.fail("were computed"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ratios = objective(make_batch(), 0.0).domain_ratios
    assert ratios is not None
    assert torch.equal(ratios, torch.full((3, 3), 1 / 3))


def test_phases_switch_terms_at_their_fractions(tiny_encoder: Path) -> None:
    """A phase that starts a step late or never is a loss of another method under the same name."""
    phases = [{"until": 0.5, "prediction_weight": 0.0, "label_weight": 0.0}, {"until": 1.0, "hidden_weight": 0.0}]
    objective = make_objective(tiny_encoder, phases=phases, attention_weight=0.0)
    for progress, expected in ((0.0, {"hidden"}), (0.49, {"hidden"}), (0.5, {"prediction", "label"})):
        assert set(objective(make_batch(), progress).terms) == expected


def test_a_phase_on_labels_alone_does_not_ask_the_teacher(tiny_encoder: Path) -> None:
    """The teacher's forward is half of a step; a last phase that only needs labels must not pay for it."""
    last = {"until": 1.0, "hidden_weight": 0.0, "attention_weight": 0.0, "prediction_weight": 0.0}
    objective = make_objective(tiny_encoder, phases=[{"until": 0.5}, last])
    asked: list[Batch] = []
    answers = objective.outputs
    objective.outputs = lambda batch: asked.append(batch) or answers(batch)  # type: ignore[func-returns-value, misc]
    for progress, expected in ((0.0, 1), (0.5, 1)):
        objective(make_batch(), progress)
        assert len(asked) == expected


def test_example_weights_are_looked_up_by_position_in_the_split(tiny_encoder: Path) -> None:
    """Weights taken by position in the batch belong to other texts."""
    objective = make_objective(tiny_encoder)
    objective.trainable.eval()
    batch = replace(make_batch(), indices=torch.tensor([5, 4, 3, 2, 1, 0]))
    objective.example_weights = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    chosen = objective(batch, 0.0).terms
    halves = make_batch()
    rows = torch.tensor([0, 2, 4])
    objective.example_weights = None
    alone = objective(Batch(*(getattr(halves, f.name)[rows] for f in fields(Batch))), 0.0).terms
    for name in ("hidden", "attention"):
        torch.testing.assert_close(chosen[name], alone[name])


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
