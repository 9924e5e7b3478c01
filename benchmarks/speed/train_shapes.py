"""Models with random weights and texts of random tokens: speed depends on neither."""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
from collections.abc import Sequence

import numpy as np
import torch
from transformers import BertConfig

from hrkd.data.collate import TokenizedExamples
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import build_encoder
from hrkd.recipe.presets import STUDENT_PRESETS, StudentShape
from speed.train_steps import Indices

SHAPES = {**STUDENT_PRESETS, "bert-base": StudentShape(12, 768, 12, 3072)}
VOCABULARY = 30522
LABELS = ("negative", "positive")
MEDIAN_TOKENS, SPREAD = 19.0, 0.55
"""Of the lengths of random texts: log-normal, as those of VADER are, cut to the limit."""


def random_classifier(shape: StudentShape, num_domains: int, *, seed: int = 0) -> MultiDomainClassifier:
    """Return an untrained BERT classifier without dropout."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.attention_heads,
        intermediate_size=shape.intermediate_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    names = tuple(f"domain{number}" for number in range(num_domains))
    return MultiDomainClassifier(build_encoder(config), ClassifierConfig(names, LABELS, max_length=512))


def random_examples(lengths: Sequence[int], num_domains: int, *, seed: int = 0) -> TokenizedExamples:
    """Return texts of the given numbers of tokens, domains in equal blocks."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    random = np.random.default_rng(seed)
    return TokenizedExamples(
        flat_ids=random.integers(1, VOCABULARY, offsets[-1], dtype=np.int32),
        offsets=offsets,
        labels=random.integers(0, len(LABELS), len(lengths)),
        domains=np.arange(len(lengths)) * num_domains // len(lengths),
        pad_id=0,
    )


def mixed_lengths(count: int, limit: int, *, seed: int = 0) -> list[int]:
    """Return lengths in tokens of ``count`` texts, spread as in VADER."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN_TOKENS), SPREAD, count)
    return [int(value) for value in np.clip(drawn, 3, limit)]


def all_of(examples: TokenizedExamples) -> Indices:
    """Return the indices of all examples."""
    return np.arange(len(examples))
