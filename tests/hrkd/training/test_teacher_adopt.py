"""Adopting one fine-tuned classifier as the teacher: nothing is trained, nothing is changed, nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from hrkd.artifact import StageRecord, read_stage, verify_files
from hrkd.bundle import parse_eval
from hrkd.errors import ArtifactError, CheckpointError
from hrkd.models import load_classifier
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, train_teacher
from tiny import DOMAINS

LABELS = ("neg", "pos")
MakeRecipe = Callable[..., Recipe]


class Recorder(Observer):
    """Keeps whether stages were skipped."""

    def __init__(self) -> None:
        self.skipped: list[bool] = []

    def finished(self, record: StageRecord, skipped: bool) -> None:
        self.skipped.append(skipped)


def make_classifier(folder: Path, encoder: Path, names: tuple[str, ...], seed: int = 0) -> Path:
    """Write an ordinary fine-tuned classifier whose head's rows are called ``names``."""
    shutil.copytree(encoder, folder)
    config = BertConfig.from_pretrained(
        encoder, id2label=dict(enumerate(names)), label2id={name: row for row, name in enumerate(names)}
    )
    config.initializer_range = 0.2
    torch.manual_seed(seed)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def adopting(make_recipe: MakeRecipe, source: Path) -> Recipe:
    return make_recipe(teacher={"base": None, "adopt": str(source)})


@torch.no_grad()
def original_logits(source: Path, texts: list[str]) -> np.ndarray:
    """What the user's own model says, run as they would run it."""
    model = BertForSequenceClassification.from_pretrained(source).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=24, return_tensors="pt")
    return model(**batch).logits.numpy()


@pytest.mark.parametrize("names", [("neg", "pos"), ("POS", "NEG"), ("LABEL_0", "LABEL_1")])
def test_logits_are_the_original_ones(
    make_recipe: MakeRecipe, tiny_encoder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Labels in another order are adopted upside down: 90 % accuracy becomes 10 %."""
    source = make_classifier(tmp_path / "mine", tiny_encoder, names)
    recipe = adopting(make_recipe, source)
    run = RunFolder.create(tmp_path / "runs", recipe)
    record = train_teacher(recipe, run)
    examples = parse_eval(run.teacher / "eval.jsonl", LABELS, DOMAINS)
    expected = original_logits(source, [example.text for example in examples])
    if names == ("POS", "NEG"):
        expected = expected[:, ::-1]
    assert len(examples) == 48
    np.testing.assert_allclose([example.teacher_logits for example in examples], expected, atol=1e-5)
    right = [LABELS[row.argmax()] == example.label for row, example in zip(expected, examples, strict=True)]
    assert np.mean(list(record.details["test"].values())) == pytest.approx(np.mean(right))
    assert record.details["adopted"] is True


def test_weights_are_the_original_ones(make_recipe: MakeRecipe, tiny_encoder: Path, tmp_path: Path) -> None:
    """A teacher that is trained on after all would no longer be the user's."""
    source = make_classifier(tmp_path / "mine", tiny_encoder, LABELS)
    recipe = adopting(make_recipe, source)
    run = RunFolder.create(tmp_path / "runs", recipe)
    verify_files(run.teacher, train_teacher(recipe, run).files)
    before, after = load_file(source / "model.safetensors"), load_classifier(run.teacher).state_dict()
    layers = [name for name in before if name.startswith("bert.encoder.")]
    assert len(layers) == 4 * 16
    for name in layers:
        assert torch.equal(before[name], after[name.replace("bert.", "encoder.", 1)]), name
    for head in after["head_weight"]:
        assert torch.equal(before["classifier.weight"], head)


def test_is_done_once_and_never_replaced_unasked(make_recipe: MakeRecipe, tiny_encoder: Path, tmp_path: Path) -> None:
    """The folder is the identity, not its name: other weights under the same path are another teacher."""
    source = make_classifier(tmp_path / "mine", tiny_encoder, LABELS)
    recipe = adopting(make_recipe, source)
    run = RunFolder.create(tmp_path / "runs", recipe)
    recorder = Recorder()
    record = train_teacher(recipe, run, observer=recorder)
    assert train_teacher(recipe, run, observer=recorder) == record
    assert recorder.skipped == [False, True]
    shutil.rmtree(source)
    make_classifier(source, tiny_encoder, LABELS, seed=1)
    with pytest.raises(ArtifactError, match="other inputs"):
        train_teacher(recipe, run)
    assert read_stage(run.teacher) == record
    assert train_teacher(recipe, run, overwrite=True).output_hash != record.output_hash


@pytest.mark.parametrize(
    ("names", "problem"),
    [(("neg", "neutral", "pos"), "has 3 labels"), (("good", "bad"), "has the labels")],
)
def test_a_classifier_of_another_task_is_refused(
    make_recipe: MakeRecipe, tiny_encoder: Path, tmp_path: Path, names: tuple[str, ...], problem: str
) -> None:
    """Rows taken by position would teach the student noise."""
    recipe = adopting(make_recipe, make_classifier(tmp_path / "mine", tiny_encoder, names))
    run = RunFolder.create(tmp_path / "runs", recipe)
    with pytest.raises(CheckpointError, match=problem):
        train_teacher(recipe, run)
    assert not run.teacher.exists()


def test_a_missing_classifier_is_refused_before_anything_starts(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """A path with a typing error must not be asked for on the Hub."""
    recipe = adopting(make_recipe, tmp_path / "absent")
    run = RunFolder.create(tmp_path / "runs", recipe)
    with pytest.raises(CheckpointError, match="does not exist"):
        train_teacher(recipe, run)
    assert not run.teacher.exists()
