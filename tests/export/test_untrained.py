"""Untrained students: the bundle of a real export, except for what its weights know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hrkd.errors import CheckpointError, RecipeError
from hrkd.model_folder import CLASSIFIER
from hrkd.models import MultiDomainClassifier, load_tokenizer, save_classifier
from hrkd.models.student import build_student
from hrkd.plan_shape import Shape
from hrkd.recipe import Recipe, StudentInit
from hrkd_bench.runtime import Classifier
from hrkd_export import export_bundle
from hrkd_export.plan_inputs import shape_of
from hrkd_export.untrained import StudentSource
from minimal_recipe import recipe_with

POSITIONS = tuple(range(24))


@pytest.fixture(scope="module")
def recipe(tiny_data: Path, tiny_encoder: Path) -> Recipe:
    """A recipe on the tiny data and the tiny encoder."""
    return recipe_with(
        data={"path": str(tiny_data), "max_length": 32},
        teacher={"base": str(tiny_encoder)},
        export={"target": "avx2"},
    )


@pytest.fixture(scope="module")
def source(recipe: Recipe) -> StudentSource:
    return StudentSource.of(recipe)


def silent(_text: str) -> None:
    """Say nothing."""


def test_the_bundle_is_what_a_trained_student_would_be(source: StudentSource, tmp_path: Path) -> None:
    """Prevents a plan that measures another graph than the one that is shipped later.

    Weights that are merged because they are equal, or dropped because they are 0, would make it smaller and faster.
    """
    shape = source.own_shape()
    assert shape is not None
    untrained = source.build(shape, POSITIONS, tmp_path / "untrained", silent)
    torch.manual_seed(1)
    student = build_student(random_teacher(source), source.student(shape))
    for parameter in student.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    folder = tmp_path / "student"
    assert isinstance(student, MultiDomainClassifier)
    save_classifier(student, source.tokenizer, folder)
    (folder / "eval.jsonl").write_bytes((tmp_path / "untrained" / "eval.jsonl").read_bytes())
    trained = export_bundle(folder, tmp_path / "trained", source.export_config(shape), recipe=source.recipe)
    assert untrained.graph == trained.graph
    assert abs(untrained.size_bytes - trained.size_bytes) < 200
    assert untrained.session == trained.session


def random_teacher(source: StudentSource) -> MultiDomainClassifier:
    from hrkd.models.encoder import build_encoder

    return MultiDomainClassifier(build_encoder(source.teacher), source.names)


def test_size_is_known_before_anything_is_built(source: StudentSource, tmp_path: Path) -> None:
    """Prevents predictions of size from a count of weights that is not the graph's."""
    shape = Shape(2, 32, 4, 64, None, "int8")
    facts = source.vocabulary(None, POSITIONS)
    parameters = source.parameters(shape, facts.rows)
    manifest = source.build(shape, POSITIONS, tmp_path / "bundle", silent)
    weights = manifest.graph.quantized_bytes + manifest.graph.float_bytes
    assert parameters.weight_bytes("int8") == pytest.approx(weights, rel=0.02)
    assert parameters.tables == (facts.rows + 32 + 2) * 32  # positions end at the maximum length
    assert facts.tokenizer_bytes == manifest.files["tokenizer.json"].size_bytes
    classifier = Classifier.load(tmp_path / "bundle")
    texts = [source.examples[position].text for position in POSITIONS]
    assert [len(classifier.tokenize(text)) for text in texts] == list(facts.tokens)


def test_a_smaller_vocabulary_is_cut_with_the_real_texts(source: StudentSource, tmp_path: Path) -> None:
    """Prevents a plan whose texts are shorter or longer than those of the student with that vocabulary."""
    full, cut = source.vocabulary(None, POSITIONS), source.vocabulary(70, POSITIONS)
    assert (cut.pieces, cut.rows) == (70, 70)
    assert full.pieces > 70
    assert sum(cut.tokens) > sum(full.tokens)
    shape = Shape(1, 32, 4, 64, 70, "int8")
    manifest = source.build(shape, POSITIONS, tmp_path / "bundle", silent)
    classifier = Classifier.load(tmp_path / "bundle")
    assert manifest.parents["inputs"]
    assert [len(classifier.tokenize(source.examples[position].text)) for position in POSITIONS] == list(cut.tokens)


def test_a_build_that_fails_leaves_nothing(source: StudentSource, tmp_path: Path, monkeypatch) -> None:
    """Prevents half a bundle in the work folder that the next call takes for a finished one."""
    monkeypatch.setattr("hrkd_export.untrained.export_bundle", broken)
    with pytest.raises(OSError, match="full"):
        source.build(Shape(1, 32, 4, 64, None, "int8"), POSITIONS, tmp_path / "work" / "bundle", silent)
    assert list((tmp_path / "work").iterdir()) == []


def broken(*_arguments: object, **_options: object) -> None:
    raise OSError("disk full")


def test_the_key_follows_what_decides_the_bundle(source: StudentSource, recipe: Recipe) -> None:
    """Prevents a bundle of other inputs from being measured again as if it were this one."""
    shape = Shape(2, 32, 4, 64, None, "int8")
    changed = StudentSource.of(recipe.model_copy(update={"data": recipe.data.model_copy(update={"max_length": 16})}))
    opset = recipe.model_copy(update={"export": recipe.export.model_copy(update={"opset": 18})})
    keys = [
        source.key(shape, POSITIONS),
        source.key(shape, POSITIONS[1:]),
        source.key(Shape(3, 32, 4, 64, None, "int8"), POSITIONS),
        source.key(Shape(2, 32, 4, 64, 70, "int8"), POSITIONS),
        source.key(Shape(2, 32, 4, 64, None, "fp32"), POSITIONS),
        changed.key(shape, POSITIONS),
        StudentSource.of(opset).key(shape, POSITIONS),
    ]
    assert len(set(keys)) == len(keys)
    assert StudentSource.of(recipe).key(shape, POSITIONS) == keys[0]


def test_the_student_begins_from_the_teacher(source: StudentSource) -> None:
    """Prevents a planned recipe whose student starts from chance although the teacher could be copied or pruned."""
    assert source.student(Shape(3, 32, 4, 64)).init is StudentInit.TEACHER_LAYERS
    assert source.student(Shape(3, 16, 2, 32)).init is StudentInit.PRUNED_TEACHER
    assert source.student(Shape(3, 16, 2, 32)).layers == 3


def test_a_shape_that_cannot_be_distilled_is_refused(recipe: Recipe) -> None:
    """Prevents a plan that proposes a student which `hrkd run` refuses."""
    scores = recipe.model_copy(update={"method": recipe.method.model_copy(update={"attention_weight": 1.0})})
    with pytest.raises(RecipeError):
        StudentSource.of(scores).student(Shape(2, 16, 2, 32))


def test_shapes_are_read_from_a_configuration(source: StudentSource) -> None:
    """Prevents heads and widths that change places."""
    assert shape_of(source.teacher, "int8") == Shape(4, 32, 4, 64, None, "int8")


def test_a_base_on_the_hub_is_named_as_the_problem(recipe: Recipe) -> None:
    """Prevents a library's error about a path where a trained teacher would do."""
    remote = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"base": "someone/bert"})})
    with pytest.raises(CheckpointError, match="no local folder"):
        StudentSource.of(remote)


def test_a_teacher_folder_is_enough(source: StudentSource, recipe: Recipe, tmp_path: Path) -> None:
    """Prevents the use of the pretrained base's shape where the trained teacher is another one."""
    save_classifier(random_teacher(source), load_tokenizer(recipe.teacher.base), tmp_path / "teacher")
    assert (tmp_path / "teacher" / CLASSIFIER).is_file()
    remote = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"base": "someone/bert"})})
    assert StudentSource.of(remote, tmp_path / "teacher").teacher.hidden_size == 32
