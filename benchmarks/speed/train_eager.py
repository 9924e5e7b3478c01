"""A classifier whose every layer forms and hands out its attention scores: what plain distillation code runs.

The released HRKD and the usual distillation toolkits ask the whole encoder for all scores. The projections, the
feed-forward parts and the weights are those of the classifier that it is made from; only the attention is written out.
"""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hrkd.models import MultiDomainClassifier
from hrkd.models.attention_scores import find_attention
from hrkd.models.encoder import build_encoder


class EagerOutput(NamedTuple):
    """What one forward pass returns.

    Attributes:
        logits: (B, C).
        hidden_states: (B, T, H) per level, the embedding output first.
        scores: Pre-softmax attention scores (B, A, T, T) of every layer, without the mask.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]


class EagerClassifier(nn.Module):
    """A BERT classifier with its attention written out.

    Args:
        source: Gives shape and weights; is not changed.
    """

    def __init__(self, source: MultiDomainClassifier) -> None:
        super().__init__()
        encoder = build_encoder(copy.deepcopy(source.encoder_config), attention="eager")
        self.classifier = MultiDomainClassifier(encoder, source.config)
        self.classifier.load_state_dict(source.state_dict())
        heads = int(source.encoder_config.num_attention_heads)
        layers = find_attention(self.classifier.encoder)
        owners = [one for one in self.classifier.encoder.modules() if getattr(one, "self", None) in layers]
        for owner in owners:
            owner.add_module("self", ScoringAttention(owner.self, heads))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, domain_ids: Tensor) -> EagerOutput:
        """Run the encoder with everything that can be imitated, and each row's own head.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 for real tokens.
            domain_ids: (B,).
        """
        classifier = self.classifier
        encoded = classifier.encoder(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True, output_attentions=True
        )
        pooled = torch.tanh(classifier.pooler(encoded[0][:, 0]))
        logits = torch.einsum("bh,bch->bc", classifier.dropout(pooled), classifier.head_weight[domain_ids])
        return EagerOutput(logits + classifier.head_bias[domain_ids], encoded.hidden_states, encoded.attentions)


class ScoringAttention(nn.Module):
    """BERT's self-attention in single steps; in the place of its weights it returns the scores.

    Args:
        source: The layer's attention; its projections are used.
        heads: A.
    """

    def __init__(self, source: Any, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = source.query, source.key, source.value
        self.dropout = nn.Dropout(source.dropout.p)
        self.heads = heads

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_others: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the context (B, T, H) and the scores (B, A, T, T); the mask (B, 1, 1, T) is added to the scores."""
        query, key, value = (
            projection(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        masked = scores if attention_mask is None else scores + attention_mask
        context = self.dropout(masked.softmax(dim=-1)) @ value
        return context.transpose(1, 2).flatten(2), scores
