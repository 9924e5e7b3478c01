"""The outer step where a batch does not fit into memory: part after part, with the gradients of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hrkd.data.collate import Batch
from hrkd.data.dataset import NO_LABEL
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import load_encoder
from hrkd.models.student import build_student
from hrkd.recipe import MethodConfig, StudentConfig
from hrkd.training.objective import DistillationObjective
from hrkd.training.outer import ratio_gradient
from hrkd.training.teacher_outputs import LiveTeacher

CONFIG = ClassifierConfig(("books", "films", "phones"), ("neg", "pos"), 24, separator_id=3)
DOMAINS, BATCH, TOKENS = 3, 4, 12
METHODS: dict[str, dict[str, Any]] = {
    "average": {},
    "worst": {"graph": {"variant": "meta", "outer": "worst"}},
    "relations": {"attention_weight": 1.0, "attention": "relations"},
    "labels and hidden states": {"prediction_weight": 0.0, "label_weight": 1.0},
}
Forward = Callable[[torch.nn.Module, tuple[Tensor, ...]], None]


def make_objective(encoder: Path, method: dict[str, Any]) -> DistillationObjective:
    """Build an objective in float64 whose texts count differently."""
    torch.manual_seed(0)
    teacher = MultiDomainClassifier(load_encoder(str(encoder)), CONFIG)
    student = build_student(teacher, StudentConfig(layers=2, dropout=0.1))
    objective = DistillationObjective(teacher, student, MethodConfig.model_validate({"graph": "meta", **method}))
    with torch.no_grad():  # away from the start, at which ratios do not depend on the prototypes
        objective.graph.get_parameter("readout").normal_()
    objective.trainable.double().train()
    weights = torch.rand(DOMAINS * BATCH, dtype=torch.float64) + 0.1
    objective.listen(LiveTeacher(teacher.double(), objective.wanted) if objective.wanted else None, weights)
    return objective


def make_batch(seed: int) -> Batch:
    """Texts of very different lengths, some without a label, unlike from part to part."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, TOKENS + 1, (DOMAINS * BATCH, 1), generator=generator)
    mask = (torch.arange(TOKENS) < lengths).long()
    labels = torch.randint(2, (DOMAINS * BATCH,), generator=generator)
    labels[torch.rand(len(labels), generator=generator) < 0.3] = NO_LABEL
    return Batch(
        input_ids=torch.randint(5, 40, mask.shape, generator=generator) * mask,
        attention_mask=mask,
        domain_ids=torch.arange(DOMAINS).repeat_interleave(BATCH),
        labels=labels,
        indices=torch.arange(DOMAINS * BATCH),
    )


def outer_gradients(objective: DistillationObjective, number: int) -> dict[str, Tensor]:
    """Return what the outer step leaves on the parameters, and its loss."""
    objective.trainable.zero_grad(set_to_none=True)
    loss = objective.outer(make_batch(1), make_batch(2), 0.0, 1e-3, number)["outer"]
    named = objective.trainable.named_parameters()
    return {"loss": loss, **{name: value.grad for name, value in named if value.grad is not None}}


def watch(objective: DistillationObjective, seen: Forward) -> None:
    """Let ``seen`` know of every forward pass of student and teacher."""
    assert isinstance(objective.outputs, LiveTeacher)
    for model in (objective.model, objective.outputs.model):
        model.register_forward_pre_hook(seen)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("number", [2, 3])
def test_parts_leave_the_gradients_of_the_whole_batch(name: str, number: int, tiny_encoder: Path) -> None:
    """A graph that is trained on means of parts learns something else; a batch in one piece does not fit."""
    objective, rows = make_objective(tiny_encoder, METHODS[name]), list[int]()
    expected, random_state = outer_gradients(objective, 1), torch.get_rng_state()
    watch(objective, lambda _, inputs: rows.append(len(inputs[0])))
    found = outer_gradients(objective, number)
    assert max(rows) == DOMAINS * -(-BATCH // number)
    assert found.keys() == expected.keys()
    assert all(key == "loss" or key.startswith("graph.") for key in found)
    assert max(float(value.abs().max()) for key, value in expected.items() if key != "loss") > 1e-3
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")
    assert torch.equal(torch.get_rng_state(), random_state), "the dropout of later steps would depend on the parts"


@pytest.mark.parametrize("name", ["average", "worst"])
def test_parts_give_the_outer_gradient_in_its_own_size(
    name: str, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the graph gets is standardised; a direction that counts each part as a whole batch would not show there."""
    objective, sizes = make_objective(tiny_encoder, METHODS[name]), list[Tensor]()

    def measured(student: torch.nn.Module, direction: list[Tensor], *others: Any) -> Tensor:
        sizes.append(torch.cat([part.flatten() for part in direction]))
        return ratio_gradient(student, direction, *others)

    monkeypatch.setattr("hrkd.training.objective.ratio_gradient", measured)
    for number in (1, 3):
        outer_gradients(objective, number)
    torch.testing.assert_close(sizes[1], sizes[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("half", [True, False])
def test_the_teacher_answers_parts_in_the_number_format_of_the_step(half: bool, tiny_encoder: Path) -> None:
    """Asked inside of the difference, which is taken in float32, it would give the graph other targets and be slow."""
    objective, formats = make_objective(tiny_encoder, {}), dict[torch.nn.Module, list[bool]]()
    objective.trainable.float()
    objective.example_weights = None
    assert isinstance(objective.outputs, LiveTeacher)
    teacher = objective.outputs.model.float()
    watch(objective, lambda model, _: formats.setdefault(model, []).append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        outer_gradients(objective, 2)
    assert set(formats[teacher]) == {half}
    assert set(formats[objective.model]) == {half, False}
