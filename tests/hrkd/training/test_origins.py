"""Stages notice other pretrained models under the same path, wherever a stage starts from one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from hrkd import __version__
from hrkd.artifact import folder_hash, hash_of, sha256_file
from hrkd.data.load import load_dataset
from hrkd.errors import ArtifactError, CheckpointError
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, train_teacher
from hrkd.training.distill import student_hash
from hrkd.training.dry_run import dry_run_all
from hrkd.training.origins import fingerprint
from hrkd.training.teacher import teacher_hash
from tiny import make_encoder

MakeRecipe = Callable[..., Recipe]
OLD_FILES = ("config.json", "model.safetensors", "tokenizer.json")
SHORT = {"epochs": 0.2, "precision": "fp32"}


class Stages(Observer):
    """Keeps the names of the stages that trained."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        self.names.append(stage)


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy whose weights are in several files, with all that `save_pretrained` and trusted code leave there."""
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    (folder / "model.safetensors").unlink()
    BertModel.from_pretrained(tiny_encoder).save_pretrained(folder, max_shard_size="40KB")
    for name in ("special_tokens_map.json", "added_tokens.json", "merges.txt", "spiece.model", "modeling_own.py"):
        (folder / name).write_text("content")
    return folder


def test_every_file_that_decides_the_answers_counts_and_no_other(encoder: Path) -> None:
    """Weights in several files, or word pieces beside tokenizer.json, could be exchanged and old results kept."""
    before = fingerprint(str(encoder))
    shards = sorted(path.name for path in encoder.glob("model-*.safetensors"))
    assert len(shards) > 1
    others = ("vocab.txt", "tokenizer_config.json", "model.safetensors.index.json", "special_tokens_map.json")
    for name in (*shards, *others, "added_tokens.json", "merges.txt", "spiece.model", "modeling_own.py", "config.json"):
        content = (encoder / name).read_bytes()
        (encoder / name).write_bytes(content + b" ")
        assert fingerprint(str(encoder)) != before, name
        (encoder / name).write_bytes(content)
    (encoder / "README.md").write_text("what it is for")
    (encoder / "trainer_state.json").write_text("{}")
    assert fingerprint(str(encoder)) == before
    assert fingerprint("somebody/bert") == "somebody/bert"


def test_what_no_such_model_decides_keeps_its_hash(make_recipe: MakeRecipe, tiny_encoder: Path, tmp_path: Path) -> None:
    """A new key in the hash of every stage would make all finished ones look stale, and hours be done again."""
    base = tmp_path / "base"
    base.mkdir()
    for name in OLD_FILES:
        shutil.copy2(tiny_encoder / name, base)
    recipe = make_recipe(teacher={"base": str(base)})
    dataset = load_dataset(recipe.data)
    teacher_inputs = {
        "hrkd": __version__,
        "recipe": recipe.section_hash("data", "teacher"),
        "data": replace(dataset, unlabelled=None).fingerprint(),
        "base": [{name: sha256_file(base / name) for name in OLD_FILES}],
    }
    assert teacher_hash(recipe, dataset) == hash_of(teacher_inputs)
    student_inputs = {
        "hrkd": __version__,
        "recipe": recipe.section_hash("data", "student", "method", "training"),
        "data": dataset.fingerprint(),
        "teacher": folder_hash(base),
        "texts": None,
    }
    assert student_hash(recipe, dataset, base) == hash_of(student_inputs)


def test_another_checkpoint_in_the_same_folder_is_another_student(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """A checkpoint that was pretrained longer would be ignored: the student of the old one is reported as finished."""
    checkpoint = make_encoder(tmp_path / "checkpoint", layers=2)
    student = {"layers": None, "init": "checkpoint", "checkpoint": str(checkpoint)}
    recipe = make_recipe(teacher={"training": SHORT}, student=student, training=SHORT)
    run = RunFolder.create(tmp_path, recipe)
    train_teacher(recipe, run)
    record = distill(recipe, run)
    assert distill(recipe, run) == record
    make_encoder(checkpoint, layers=2, seed=1)
    with pytest.raises(ArtifactError, match="other inputs"):
        distill(recipe, run)
    shutil.rmtree(checkpoint)
    with pytest.raises(CheckpointError, match="does not exist"):
        distill(recipe, run)


def test_the_base_that_the_general_stage_imitates_decides_the_student(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """With a teacher from elsewhere nothing else notices another base, and the student has learned from the old one."""
    base, teacher = (make_encoder(tmp_path / name) for name in ("base", "teacher"))
    recipe = make_recipe(teacher={"base": str(base)}, student={"general": SHORT})
    dataset = load_dataset(recipe.data)
    before = student_hash(recipe, dataset, teacher)
    make_encoder(base, seed=1)
    assert student_hash(recipe, dataset, teacher) != before


def make_classifier(folder: Path, seed: int = 0) -> Path:
    """Write the user's own classifier; another seed is another training of it."""
    make_encoder(folder)
    torch.manual_seed(seed)
    BertForSequenceClassification(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


@pytest.fixture
def adopted(make_recipe: MakeRecipe, tmp_path: Path) -> tuple[Recipe, RunFolder, Path]:
    """A finished run whose general stage imitated the user's own classifier."""
    source = make_classifier(tmp_path / "mine")
    recipe = make_recipe(
        teacher={"base": None, "adopt": str(source)}, student={"general": {**SHORT, "batch_size": 16}}, training=SHORT
    )
    run = RunFolder.create(tmp_path / "runs", recipe)
    train_teacher(recipe, run)
    distill(recipe, run)
    return recipe, run, source


def test_an_adopted_classifier_that_was_trained_again_is_imitated_again(
    adopted: tuple[Recipe, RunFolder, Path],
) -> None:
    """The general stage of the old classifier would be kept, and the student start from another teacher's encoder."""
    recipe, run, source = adopted
    make_classifier(source, seed=1)
    train_teacher(recipe, run, overwrite=True)
    with pytest.raises(ArtifactError, match="other inputs"):
        distill(recipe, run)
    stages = Stages()
    distill(recipe, run, observer=stages, overwrite=True)
    assert stages.names == ["general", "student"]
    shutil.rmtree(run.student)
    stages = Stages()
    distill(recipe, run, observer=stages)
    assert stages.names == ["student"]


def test_a_dry_run_does_not_refuse_a_general_stage_of_a_teacher_that_is_not_made(
    adopted: tuple[Recipe, RunFolder, Path],
) -> None:
    """Its hash is not known before the teacher is there: compared all the same, a run that would go on is refused."""
    recipe, run, _ = adopted
    shutil.rmtree(run.teacher)
    shutil.rmtree(run.student)
    assert [estimate.stage for estimate in dry_run_all(recipe, run, Observer())] == ["general", "student"]
