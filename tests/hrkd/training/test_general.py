"""The task-agnostic stage: it brings the student nearer to the pretrained encoder, once, and resumes."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hrkd.artifact import read_stage
from hrkd.errors import DataError
from hrkd.models import load_classifier
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, train_teacher

GENERAL = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}
PRUNED = {"layers": 2, "hidden_size": 24, "attention_heads": 3, "init": "pruned_teacher"}


class Stages(Observer):
    """Keeps the names of the stages that trained."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        self.names.append(stage)


@pytest.fixture
def run(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> RunFolder:
    """A barely trained teacher."""
    recipe = make_recipe(teacher={"training": {"epochs": 0.2, "precision": "fp32"}})
    folder = RunFolder.create(tmp_path, recipe)
    train_teacher(recipe, folder)
    return folder


def make(make_recipe: Callable[..., Recipe], **general: object) -> Recipe:
    return make_recipe(
        student={**PRUNED, "general": {**GENERAL, **general}},
        method={"attention": "relations", "relation_heads": 4, "hidden": "normalized"},
        training={"epochs": 0.1},
    )


def test_the_stage_raises_the_correlation_and_hands_its_encoder_on(
    run: RunFolder, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage whose result is not what the distillation starts from costs hours and changes nothing."""
    starts = []
    module = importlib.import_module("hrkd.training.distill")
    real = module.DistillationObjective

    def spy(teacher: torch.nn.Module, student: torch.nn.Module, *rest: object) -> object:
        starts.append({name: value.clone() for name, value in student.state_dict().items()})
        return real(teacher, student, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "DistillationObjective", spy)
    stages = Stages()
    distill(make(make_recipe), run, observer=stages)
    assert stages.names == ["general", "student"]
    record = read_stage(run.root / "general")
    assert record is not None
    first, *_, last = (score for _, score in record.details["history"])
    assert last > first + 0.01
    encoder = load_classifier(run.root / "general").encoder.state_dict()
    for name, value in encoder.items():
        assert torch.equal(starts[-1][f"encoder.{name}"], value), name


def test_a_finished_stage_is_not_repeated(run: RunFolder, make_recipe: Callable[..., Recipe]) -> None:
    """Hours on a general corpus must not be lost because the task's learning rate was changed."""
    recipe = make(make_recipe)
    distill(recipe, run, observer=Stages())
    shutil.rmtree(run.student)
    stages = Stages()
    distill(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 0.2})}), run, observer=stages
    )
    assert stages.names == ["student"]


def test_texts_come_from_a_file(run: RunFolder, make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """A wrong path or an empty file must not end as a student trained on something else."""
    texts = tmp_path / "texts.txt"
    with pytest.raises(DataError, match="cannot be read"):
        distill(make(make_recipe, texts=str(texts)), run)
    texts.write_text("one text\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="has 1 texts"):
        distill(make(make_recipe, texts=str(texts)), run)
    texts.write_text("\n".join(f"the film number {number} was good" for number in range(40)), encoding="utf-8")
    distill(make(make_recipe, texts=str(texts), epochs=0.5), run)
    record = read_stage(run.root / "general")
    assert record is not None
    assert record.details["texts"] == 40
