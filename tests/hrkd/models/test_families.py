"""Every supported family works as teacher and student: forward, copies, storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AlbertConfig, MPNetConfig

from hrkd.errors import CheckpointError, RecipeError
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_classifier, load_tokenizer, save_classifier
from hrkd.models.shape import intermediate_size
from hrkd.models.student import build_student
from hrkd.recipe import AttentionTerm, MethodConfig, StudentConfig, StudentInit
from hrkd.training.objective import DistillationObjective
from tiny_families import CONFIG, FAMILY_NAMES, SIZES, family_encoder, family_inputs, family_teacher

# DeBERTa's modelling code, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_padding_changes_no_output(name: str) -> None:
    """A mask of another format is accepted by some families and read as "attend to everything"."""
    teacher = family_teacher(name)
    short = teacher(*family_inputs(), hidden_states=True)
    long = teacher(*family_inputs(padding=5), hidden_states=True)
    real = family_inputs()[1].bool()
    assert len(short.hidden_states) == teacher.num_layers + 1
    torch.testing.assert_close(long.logits, short.logits, rtol=1e-4, atol=1e-4)
    for own, padded in zip(short.hidden_states, long.hidden_states, strict=True):
        assert own.shape == (4, 9, teacher.hidden_size)
        torch.testing.assert_close(padded[:, :9][real], own[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_a_student_of_all_layers_is_the_teacher(name: str) -> None:
    """A part that is not copied (relative positions, a projection of the embeddings) starts at random."""
    teacher = family_teacher(name)
    student = build_student(teacher, StudentConfig(layers=4)).eval()
    torch.testing.assert_close(student(*family_inputs()).logits, teacher(*family_inputs()).logits)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_a_shallower_student_is_stored_and_found_again(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    """Families without a fused attention kernel must load, too, and every family with its own head."""
    teacher = family_teacher(name)
    student = build_student(teacher, StudentConfig(layers=2, teacher_layers=(1, 3))).eval()
    save_classifier(student, load_tokenizer(tiny_encoder), tmp_path)
    for attention in ("sdpa", "eager"):
        loaded = load_classifier(tmp_path, attention=attention)
        torch.testing.assert_close(loaded(*family_inputs()).logits, student(*family_inputs()).logits)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_any_width_can_be_built(name: str) -> None:
    """Widths that a family keeps apart from the hidden size must follow it, or the first step fails."""
    teacher = family_teacher(name)
    config = StudentConfig(layers=2, hidden_size=24, attention_heads=3, intermediate_size=40, init=StudentInit.RANDOM)
    output = build_student(teacher, config)(*family_inputs(), hidden_states=True, attention_layers=(1, 2))
    assert {state.shape[-1] for state in output.hidden_states} == {24}
    assert {part.shape for record in output.attention for part in record} == {(4, 9, 24)}
    half = build_student(teacher, StudentConfig(layers=2, hidden_size=16, init=StudentInit.RANDOM))
    assert intermediate_size(half.encoder_config) == 32


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_a_student_without_dropout_has_none_anywhere(name: str) -> None:
    """A family that calls one of its dropouts by another name would keep it; the recipe says that it is off."""
    student = build_student(family_teacher(name), StudentConfig(layers=2, dropout=0.0))
    left = {path: part.p for path, part in student.named_modules() if "dropout" in type(part).__name__.lower()}
    assert left
    assert not any(left.values()), left
    quiet = student.eval()(*family_inputs()).logits
    torch.testing.assert_close(student.train()(*family_inputs()).logits, quiet, msg="a dropout that is no module")


def test_positions_behind_the_paddings_are_not_counted() -> None:
    """MPNet, like RoBERTa, starts behind the padding's number: its last two positions do not exist."""
    config = ClassifierConfig(CONFIG.domain_names, CONFIG.label_names, 39)
    with pytest.raises(RecipeError, match="has only 38 positions"):
        MultiDomainClassifier(family_encoder(MPNetConfig(**SIZES)), config)


def test_an_unknown_pooler_is_refused_by_name() -> None:
    """ALBERT: its layers are one, so no student could be made of them either."""
    with pytest.raises(CheckpointError, match="`AlbertModel`"):
        MultiDomainClassifier(family_encoder(AlbertConfig(**SIZES, embedding_size=16)), CONFIG)


@pytest.mark.parametrize("name", ["mpnet", "deberta", "deberta-v3"])
def test_the_objective_refuses_scores_with_positions_and_accepts_relations(name: str) -> None:
    """Refused only by a function that nobody calls, the term would be computed anyway."""
    teacher = family_teacher(name)
    student = build_student(teacher, StudentConfig(layers=2))
    with pytest.raises(RecipeError, match="not plain products"):
        DistillationObjective(teacher, student, MethodConfig(attention=AttentionTerm.SCORES, attention_weight=1.0))
    DistillationObjective(teacher, student, MethodConfig(attention=AttentionTerm.RELATIONS, attention_weight=1.0))
