"""Building students and adopting teachers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PretrainedConfig,
    RobertaConfig,
)

from hrkd.errors import CheckpointError, RecipeError
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.adopt import adopt_classifier
from hrkd.models.encoder import load_encoder
from hrkd.models.layer_map import check_layer_map, even_layer_map
from hrkd.models.student import build_student
from hrkd.recipe import StudentConfig, StudentInit

CONFIG = ClassifierConfig(("books", "films", "phones"), ("neg", "pos"), 32, separator_id=3)


@pytest.fixture
def teacher(tiny_encoder: Path) -> MultiDomainClassifier:
    torch.manual_seed(1)
    return MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG)


def test_even_layer_map_ends_at_the_last_layer() -> None:
    """The last teacher layer carries the decision; a map that leaves it out trains a worse student silently."""
    assert even_layer_map(3, 6) == (2, 4, 6)
    assert even_layer_map(4, 12) == (3, 6, 9, 12)
    assert even_layer_map(4, 6) == (2, 3, 4, 6)


@pytest.mark.parametrize(("layers", "message"), [((1, 2, 3), "names 3"), ((1, 9), "layer 9"), ((3, 2), "must rise")])
def test_impossible_layer_maps_are_refused(layers: tuple[int, ...], message: str) -> None:
    """A map of the wrong length would be cut by zip."""
    with pytest.raises(RecipeError, match=message):
        check_layer_map(layers, 2, 4, key="method.layer_map")


def test_student_layers_are_copies_of_the_chosen_teacher_layers(teacher: MultiDomainClassifier) -> None:
    """An off-by-one in the 1-based layer numbers copies other layers, and trains a little worse."""
    student = build_student(teacher, StudentConfig(layers=2, teacher_layers=(1, 3)))
    source, copied = teacher.state_dict(), student.state_dict()
    for student_layer, teacher_layer in ((0, 0), (1, 2)):
        name = "encoder.encoder.layer.{}.attention.self.query.weight"
        assert torch.equal(copied[name.format(student_layer)], source[name.format(teacher_layer)])
    for name in ("encoder.embeddings.word_embeddings.weight", "pooler.weight", "head_weight"):
        assert torch.equal(copied[name], source[name])
        assert copied[name].data_ptr() != source[name].data_ptr()


def test_other_widths_need_another_start(teacher: MultiDomainClassifier) -> None:
    """Copying cannot change the width; a random start must be asked for, not fallen into."""
    with pytest.raises(RecipeError, match="layers cannot be copied"):
        build_student(teacher, StudentConfig(layers=2, hidden_size=16))
    narrow = build_student(teacher, StudentConfig(layers=2, hidden_size=16, init=StudentInit.RANDOM))
    assert narrow.hidden_size == 16
    assert narrow.encoder.config.intermediate_size == 32
    with pytest.raises(RecipeError, match="not a multiple"):
        build_student(teacher, StudentConfig(layers=2, hidden_size=18, init=StudentInit.RANDOM))
    with pytest.raises(RecipeError, match="the teacher has 4"):
        build_student(teacher, StudentConfig(layers=5))


def test_student_from_a_checkpoint_keeps_its_shape(teacher: MultiDomainClassifier, tiny_encoder: Path) -> None:
    """The checkpoint's weights, not random ones of the same shape, must be in the student."""
    student = build_student(teacher, StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(tiny_encoder)))
    expected = load_encoder(str(tiny_encoder)).get_input_embeddings().weight
    assert torch.equal(student.encoder.get_input_embeddings().weight, expected)


SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = [
    BertConfig(**SIZES, intermediate_size=32),
    RobertaConfig(**SIZES, intermediate_size=32, max_position_embeddings=40),
    ElectraConfig(**SIZES, intermediate_size=32, embedding_size=16),
    DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_an_adopted_classifier_gives_the_original_logits(family: PretrainedConfig, tmp_path: Path) -> None:
    """A wrong activation or pooling layer keeps most predictions right and every logit wrong."""
    torch.manual_seed(2)
    family.num_labels, family.initializer_range = 2, 0.3
    family.id2label, family.label2id = {0: "POS", 1: "NEG"}, {"POS": 0, "NEG": 1}
    original = AutoModelForSequenceClassification.from_config(family).eval()
    original.save_pretrained(tmp_path)
    adopted = adopt_classifier(str(tmp_path), CONFIG)
    ids = torch.randint(5, 50, (4, 9))
    mask = torch.ones_like(ids)
    expected = original(input_ids=ids, attention_mask=mask).logits[:, [1, 0]]
    for domain in range(3):
        torch.testing.assert_close(adopted(ids, mask, torch.full((4,), domain)).logits, expected)


def test_a_bare_encoder_is_not_adopted(tiny_encoder: Path) -> None:
    """Transformers would give it a random head with a warning; every distilled number would be noise."""
    with pytest.raises(CheckpointError, match="not a classifier"):
        adopt_classifier(str(tiny_encoder), CONFIG)


def test_other_labels_are_refused(tmp_path: Path) -> None:
    """Labels matched by position would swap classes."""
    config = BertConfig(**SIZES, intermediate_size=32, num_labels=2)
    config.id2label = {0: "contradiction", 1: "entailment"}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="contradiction"):
        adopt_classifier(str(tmp_path), CONFIG)
