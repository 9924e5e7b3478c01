"""Queries, keys and values, and the scores they give: of the right layer, the right heads, in every family."""

from __future__ import annotations

import pytest
import torch
from transformers import AlbertConfig, BertConfig, PreTrainedModel, RoFormerConfig

from hrkd.errors import CheckpointError, RecipeError
from hrkd.models.attention_scores import attention_scores, check_attention_scores, find_attention, record_attention
from tiny_families import FAMILY_NAMES, SIZES, families, family_encoder, family_inputs, family_teacher

# DeBERTa's modelling code, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

HEADS = SIZES["num_attention_heads"]


def without_positions(encoder: PreTrainedModel) -> PreTrainedModel:
    """Silence what MPNet and DeBERTa add to q.k, and undo DeBERTa's larger divisor."""
    for module in encoder.modules():
        if getattr(module, "relative_attention", None) is True:
            module.relative_attention = False
        if hasattr(module, "pos_att_type"):
            module.pos_att_type = []
    if hasattr(encoder.encoder if hasattr(encoder, "encoder") else encoder, "relative_attention_bias"):
        torch.nn.init.zeros_(encoder.encoder.relative_attention_bias.weight)
    return encoder


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_records_give_the_models_own_attention(name: str) -> None:
    """Another layer's, mixed-up heads, query for value, a forgotten bias: each still looks like a record."""
    family = families()[name]
    encoder = without_positions(family_encoder(family.config, attention="eager"))
    input_ids, mask, _ = family_inputs()
    contexts: dict[int, torch.Tensor] = {}
    for layer in (2, 4):
        reader = encoder.get_submodule(family.context_reader.format(layer - 1))
        reader.register_forward_pre_hook(lambda _m, inputs, layer=layer: contexts.__setitem__(layer, inputs[0]))
    with record_attention(encoder, (4, 2)) as records:
        output = encoder(input_ids=input_ids, attention_mask=mask, output_attentions=True)
    real = mask.bool()
    for layer, record in zip((4, 2), records, strict=True):
        scores = attention_scores(record.query, record.key, HEADS)
        probabilities = scores.masked_fill(~real[:, None, None, :], -1e9).softmax(-1)
        expected = output.attentions[layer - 1]
        torch.testing.assert_close(probabilities.transpose(1, 2)[real], expected.transpose(1, 2)[real])
        mixed = probabilities @ record.value.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        torch.testing.assert_close(mixed.transpose(1, 2).flatten(2)[real], contexts[layer].flatten(2)[real])


@torch.no_grad()
def test_debertas_position_keys_are_not_taken_for_the_texts() -> None:
    """With shared projections they are the last output of the layer, of another length, with a batch of one."""
    encoder = family_encoder(families()["deberta-v3"].config)
    input_ids, mask, _ = family_inputs()
    with record_attention(encoder, (2,)) as records:
        states = encoder(input_ids=input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
    owner = find_attention(encoder)[1]
    for recorded, projection in zip(records[0], (owner.query_proj, owner.key_proj, owner.value_proj), strict=True):
        torch.testing.assert_close(recorded, projection(states[1]))


def test_records_carry_gradients() -> None:
    """A detached record leaves the student's attention untrained, and the loss just stays."""
    for name in FAMILY_NAMES:
        student = family_teacher(name)
        record = student(*family_inputs(), attention_layers=(1,)).attention[0]
        sum(part.square().sum() for part in record).backward()
        assert student.encoder.get_input_embeddings().weight.grad.abs().sum() > 0, name


def test_nothing_is_recorded_unless_asked() -> None:
    """A family whose projections are unknown must still serve the terms that need none."""
    model = family_teacher("bert")
    assert model(*family_inputs()).attention == ()
    with record_attention(torch.nn.Linear(2, 2), ()) as records:
        pass
    assert records == []


def test_no_hook_stays_behind() -> None:
    """Hooks that pile up slow every later step down and keep its activations alive."""
    model = family_teacher("bert")
    model(*family_inputs(), attention_layers=(1, 2))
    with pytest.raises(RuntimeError, match="interrupted"), record_attention(model.encoder, (1,)):
        raise RuntimeError("interrupted")
    assert sum(len(module._forward_hooks) for module in model.modules()) == 0


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_scores_with_a_position_term_are_refused_by_name(name: str) -> None:
    """Half of the score compared as if it were all: a loss that falls and teaches something else."""
    family = families()[name]
    if family.plain_scores:
        check_attention_scores(family.config, role="teacher")
        return
    with pytest.raises(RecipeError, match=rf"teacher \(`{family.config.model_type}`\)") as caught:
        check_attention_scores(family.config, role="teacher")
    assert "`method.attention: relations`" in str(caught.value.hint)


@pytest.mark.parametrize("config", [BertConfig(), RoFormerConfig()], ids=["relative", "rotary"])
def test_hidden_position_terms_are_refused(config: BertConfig | RoFormerConfig) -> None:
    """Both name their projections as BERT does, and add positions to the scores."""
    config.position_embedding_type = "relative_key"
    with pytest.raises(RecipeError, match="student"):
        check_attention_scores(config, role="student")


def test_projections_shared_by_layers_are_refused() -> None:
    """ALBERT has one layer many times: a hook on it would catch the first layer for all."""
    encoder = family_encoder(AlbertConfig(**SIZES, embedding_size=16))
    with pytest.raises(CheckpointError, match=r"`AlbertModel` cannot be read: 1 sets .* in 4 layers"):
        find_attention(encoder)


def test_widths_that_no_head_fits_are_refused() -> None:
    """A floor division would cut features off."""
    with pytest.raises(ValueError, match="width 6 is not a multiple of 4"):
        attention_scores(torch.zeros(1, 2, 6), torch.zeros(1, 2, 6), 4)
