"""Activations that are computed again instead of kept: the same gradients, less memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hrkd.data.collate import Batch
from hrkd.errors import RecipeError
from hrkd.models import load_classifier
from hrkd.models.student import build_student
from hrkd.recipe import MethodConfig, Recipe, StudentConfig
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.objective import DistillationObjective
from hrkd.training.recompute import recompute_activations
from hrkd.training.teacher_outputs import LiveTeacher
from tiny_families import FAMILY_NAMES, family_inputs, family_teacher

# DeBERTa's modelling code, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def one_text_per_domain() -> Batch:
    ids, mask, _ = (column[:3] for column in family_inputs())
    return Batch(ids, mask, torch.arange(3), torch.zeros(3, dtype=torch.int64), torch.arange(3))


def gradients(name: str, dropout: float, *, recompute: bool) -> tuple[dict[str, Tensor], int]:
    """Return the gradients of one step with all terms, and the bytes that autograd kept for them."""
    teacher = family_teacher(name)
    student = build_student(teacher, StudentConfig(layers=4, dropout=dropout)).train()
    objective = DistillationObjective(teacher, student, MethodConfig(attention_weight=1.0, attention="relations"))
    assert objective.wanted is not None
    objective.listen(LiveTeacher(teacher, objective.wanted))
    if recompute:
        recompute_activations(student, torch.device("cpu"))
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = objective(one_text_per_domain(), 0.0).loss
    loss.backward()
    found = {key: value.grad for key, value in objective.trainable.named_parameters() if value.grad is not None}
    return found, sum(kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if name != "mpnet"])
def test_gradients_are_the_same_and_less_is_kept(name: str, dropout: float) -> None:
    """Prevents other noise or another attention kernel on the way back, and a switch that does nothing."""
    expected, kept_all = gradients(name, dropout, recompute=False)
    found, kept = gradients(name, dropout, recompute=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert kept < 0.75 * kept_all


def test_an_encoder_that_cannot_is_refused() -> None:
    """Prevents a setting that is passed over in silence."""
    with pytest.raises(RecipeError, match="`mpnet` cannot recompute"):
        recompute_activations(family_teacher("mpnet"), torch.device("cpu"))


def test_all_stages_take_it_and_stay_the_same(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    """Prevents a stage that does not take the setting, or takes it for another result and trains again."""
    weights = []
    for on in (False, True):
        short = {"epochs": 0.5, "batch_size": 4, "precision": "fp32", "gradient_checkpointing": on}
        student = {"layers": 2, "dropout": 0.1, "general": short}
        recipe = make_recipe(teacher={"training": short}, student=student, training=short)
        run = RunFolder.create(tmp_path / str(on), recipe)
        records = train_teacher(recipe, run), distill(recipe, run)
        loaded = [load_classifier(folder).state_dict() for folder in (run.teacher, run.student)]
        weights.append((loaded, [record.input_hash for record in records]))
    (plain, hashes), (recomputed, other_hashes) = weights
    assert hashes == other_hashes
    for one, other in zip(plain, recomputed, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
