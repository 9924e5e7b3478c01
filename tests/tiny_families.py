"""Tiny encoders of every supported family, with random weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers import (
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import build_encoder

CONFIG = ClassifierConfig(("books", "films", "phones"), ("neg", "pos"), 32, separator_id=3)

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}


class Family(NamedTuple):
    """A configuration, and the map that reads what a layer's attention has mixed."""

    config: PretrainedConfig
    context_reader: str = "encoder.layer.{}.attention.output.dense"
    plain_scores: bool = True


def families() -> dict[str, Family]:
    """Return fresh configurations: building a model may change them."""
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
    distilbert = {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 64}
    shared = {key: SIZES[key] for key in ("vocab_size", "max_position_embeddings", "initializer_range")}
    return {
        "bert": Family(BertConfig(**SIZES)),
        "roberta": Family(RobertaConfig(**SIZES)),
        "distilbert": Family(DistilBertConfig(**distilbert, **shared), "transformer.layer.{}.attention.out_lin"),
        "electra": Family(ElectraConfig(**SIZES, embedding_size=32)),
        "electra-factorized": Family(ElectraConfig(**SIZES, embedding_size=16)),
        "mpnet": Family(MPNetConfig(**SIZES), "encoder.layer.{}.attention.attn.o", plain_scores=False),
        "deberta": Family(DebertaConfig(**SIZES, **relative, type_vocab_size=0), plain_scores=False),
        "deberta-v3": Family(
            DebertaV2Config(**SIZES, **relative, share_att_key=True, position_buckets=8, norm_rel_ebd="layer_norm"),
            plain_scores=False,
        ),
    }


FAMILY_NAMES = tuple(families())


def family_encoder(config: PretrainedConfig, *, attention: str = "sdpa") -> PreTrainedModel:
    """Return a random encoder whose biases and norms are random as well: at 0 and 1 they would hide mistakes."""
    torch.manual_seed(3)
    encoder = build_encoder(config, attention=attention)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return encoder.eval()


def family_teacher(name: str) -> MultiDomainClassifier:
    """Return a random teacher of a family, decisive enough that its logits differ between texts."""
    teacher = MultiDomainClassifier(family_encoder(families()[name].config), CONFIG)
    torch.nn.init.normal_(teacher.head_weight, std=0.5)
    return teacher.eval()


def family_inputs(padding: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, mask and domains of four texts of different lengths, ``padding`` columns longer than needed."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.tensor([9, 4, 7, 9])
    mask = (torch.arange(9 + padding) < lengths.unsqueeze(1)).long()
    ids = torch.randint(5, 60, (4, 9), generator=generator)
    ids = torch.nn.functional.pad(ids, (0, padding)) * mask + (1 - mask)  # 1 is the padding of RoBERTa and MPNet
    return ids, mask, torch.tensor([0, 1, 2, 1])
