"""Building students and adopting teachers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PretrainedConfig,
    RobertaConfig,
)

from hrkd.errors import CheckpointError, RecipeError
from hrkd.model_folder import WEIGHTS
from hrkd.models import ClassifierConfig, MultiDomainClassifier, PerDomainClassifier, load_tokenizer
from hrkd.models.adopt import adopt_classifier
from hrkd.models.encoder import load_encoder
from hrkd.models.layer_map import check_layer_map, even_layer_map
from hrkd.models.shape import student_shape
from hrkd.models.student import build_student
from hrkd.recipe import StudentConfig, StudentInit
from tiny import swap_words

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
    with pytest.raises(RecipeError, match=r"`student\.intermediate_size` is 16, the teacher's is 64"):
        build_student(teacher, StudentConfig(layers=2, intermediate_size=16))
    narrow = build_student(teacher, StudentConfig(layers=2, hidden_size=16, init=StudentInit.RANDOM))
    assert narrow.hidden_size == 16
    assert narrow.encoder.config.intermediate_size == 32
    with pytest.raises(RecipeError, match="18 is not a multiple of 4 attention heads"):
        build_student(teacher, StudentConfig(layers=2, hidden_size=18, init=StudentInit.RANDOM))
    with pytest.raises(RecipeError, match="the teacher has 4"):
        build_student(teacher, StudentConfig(layers=5))


def test_student_from_a_checkpoint_keeps_its_shape(teacher: MultiDomainClassifier, tiny_encoder: Path) -> None:
    """The checkpoint's weights, not random ones of the same shape, must be in the student."""
    student = build_student(teacher, StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(tiny_encoder)))
    expected = load_encoder(str(tiny_encoder)).get_input_embeddings().weight
    assert torch.equal(student.encoder.get_input_embeddings().weight, expected)


class TestOtherTokenizer:
    @pytest.fixture
    def larger(self, tiny_encoder: Path, tmp_path: Path) -> Path:
        """A checkpoint whose tokenizer has one more piece, and other special tokens."""
        folder = tmp_path / "larger"
        shutil.copytree(tiny_encoder, folder)
        tokenizer = load_tokenizer(folder)
        tokenizer.add_tokens(["extra"])
        tokenizer.add_special_tokens({"sep_token": "[END]"})
        tokenizer.save_pretrained(folder)
        config = BertConfig.from_pretrained(tiny_encoder, vocab_size=len(tokenizer))
        BertModel(config).save_pretrained(folder)
        return folder

    def test_is_refused_with_the_way_out(
        self, teacher: MultiDomainClassifier, larger: Path, tiny_encoder: Path
    ) -> None:
        """Hidden states and scores of other tokens, compared position by position, are noise."""
        config = StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(larger))
        for tokenizer in (None, load_tokenizer(tiny_encoder)):
            with pytest.raises(RecipeError, match="another tokenizer") as caught:
                build_student(teacher, config, tokenizer)
            assert "`student.own_tokenizer: true`" in str(caught.value.hint)

    def test_of_equal_size_is_refused_too(
        self, teacher: MultiDomainClassifier, tiny_encoder: Path, tmp_path: Path
    ) -> None:
        """Equal sizes pass for equal tokens; every id then is another word."""
        shutil.copytree(tiny_encoder, tmp_path / "other")
        swap_words(tmp_path / "other", "good", "bad")
        config = StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(tmp_path / "other"))
        with pytest.raises(RecipeError, match="another tokenizer"):
            build_student(teacher, config, load_tokenizer(tiny_encoder))

    def test_is_accepted_when_asked_for(self, teacher: MultiDomainClassifier, larger: Path) -> None:
        """With the teacher's separator the student would not see where its own texts end."""
        config = StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(larger), own_tokenizer=True)
        student = build_student(teacher, config)
        assert student.encoder_config.vocab_size == teacher.encoder_config.vocab_size + 2
        assert student.config.separator_id == load_tokenizer(larger).sep_token_id != teacher.config.separator_id

    def test_without_tokenizer_is_refused(
        self, teacher: MultiDomainClassifier, tiny_encoder: Path, tmp_path: Path
    ) -> None:
        """What cannot be compared must not pass for equal."""
        for name in ("config.json", WEIGHTS):
            shutil.copy(tiny_encoder / name, tmp_path)
        config = StudentConfig(init=StudentInit.CHECKPOINT, checkpoint=str(tmp_path))
        with pytest.raises(CheckpointError, match="cannot be checked"):
            build_student(teacher, config, load_tokenizer(tiny_encoder))


def test_default_heads_divide_the_width(teacher: MultiDomainClassifier) -> None:
    """The teacher's number where it can be, heads of the teacher's size otherwise; never a fraction."""
    for width, heads in ((16, 4), (24, 4), (8, 4), (40, 4)):
        shape = StudentConfig(layers=1, hidden_size=width, init=StudentInit.RANDOM)
        assert student_shape(teacher.encoder_config, shape).num_attention_heads == heads
    six = BertConfig(hidden_size=48, num_attention_heads=6, intermediate_size=96)
    assert student_shape(six, StudentConfig(layers=1, hidden_size=16)).num_attention_heads == 2


@pytest.mark.parametrize("init", [StudentInit.TEACHER_LAYERS, StudentInit.PRUNED_TEACHER, StudentInit.RANDOM])
def test_a_preset_gives_the_shape_and_written_numbers_win(teacher: MultiDomainClassifier, init: StudentInit) -> None:
    """A number that is read from the preset although the recipe writes another makes another student."""
    written = {"layers": 2, "hidden_size": 32, "attention_heads": 4, "intermediate_size": 64}
    student = build_student(teacher, StudentConfig(preset="tinybert-4x312", init=init, **written))
    assert isinstance(student, MultiDomainClassifier)
    own = student.encoder_config
    shape = (own.num_hidden_layers, own.hidden_size, own.num_attention_heads, own.intermediate_size)
    assert shape == (2, 32, 4, 64)


class TestPerDomain:
    @torch.no_grad()
    def test_members_are_equal_and_independent(self, teacher: MultiDomainClassifier) -> None:
        """Shared parameters would be one student with K names; unequal ones would not start on equal terms."""
        student = build_student(teacher, StudentConfig(layers=2, per_domain=True, init=StudentInit.RANDOM))
        assert isinstance(student, PerDomainClassifier)
        assert student.num_domains == len(student.members) == 3
        first, *others = (dict(member.named_parameters()) for member in student.members)
        for other in others:
            for name, parameter in other.items():
                assert torch.equal(parameter, first[name])
                assert parameter.data_ptr() != first[name].data_ptr()
        assert len(list(student.parameters())) == 3 * len(first)

    def test_a_domains_texts_train_its_member_only(self, teacher: MultiDomainClassifier) -> None:
        """The baseline must not learn across domains, or it is no baseline."""
        student = build_student(teacher, StudentConfig(layers=2, per_domain=True)).train()
        ids = torch.randint(5, 50, (2, 6))
        student(ids, torch.ones_like(ids), torch.tensor([1, 1])).logits.square().sum().backward()
        reached = [any(p.grad is not None for p in member.parameters()) for member in student.members]
        assert reached == [False, True, False]


SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = [
    BertConfig(**SIZES, intermediate_size=32),
    RobertaConfig(**SIZES, intermediate_size=32, max_position_embeddings=40),
    ElectraConfig(**SIZES, intermediate_size=32, embedding_size=8),
    MPNetConfig(**SIZES, intermediate_size=32, max_position_embeddings=40),
    DebertaConfig(**SIZES, intermediate_size=32),
    DebertaV2Config(**SIZES, intermediate_size=32, pooler_hidden_act="tanh"),
    DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # DeBERTa's own code
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
