"""One shared encoder, one classification head per domain (HRKD-teacher of the paper, section 1 of the method)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from hrkd.errors import CheckpointError, RecipeError
from hrkd.models.attention_scores import AttentionRecord, record_attention

Activation = Literal["tanh", "relu", "gelu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """What a classifier knows besides its weights.

    Attributes:
        domain_names: Name of each domain id.
        label_names: Name of each label id, shared by all domains.
        max_length: Longest input in tokens.
        text_pairs: Whether an input is two texts, told apart by token types where the encoder has them.
        separator_id: Token id that ends a text; needed to derive token types.
        activation: Non-linearity of the pooler.
    """

    domain_names: tuple[str, ...]
    label_names: tuple[str, ...]
    max_length: int
    text_pairs: bool = False
    separator_id: int = 0
    activation: Activation = "tanh"


class ClassifierOutput(NamedTuple):
    """What one forward pass returns.

    Attributes:
        logits: (B, C).
        hidden_states: One (B, T, H) per level, the embedding output first; empty unless asked for.
        attention: Queries, keys and values of each asked layer, (B, T, A*d) each.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()
    attention: tuple[AttentionRecord, ...] = ()


class MultiDomainClassifier(nn.Module):
    """A BERT-like encoder, a pooler over the first token, and K stacked heads.

    Args:
        encoder: Hugging Face encoder whose first output is (B, T, H); a pooler of its own is taken over.
        config: Names and input limits.

    Raises:
        RecipeError: The encoder has fewer positions than ``config.max_length``.
        CheckpointError: The encoder's pooler is of an unknown form.
    """

    def __init__(self, encoder: PreTrainedModel, config: ClassifierConfig) -> None:
        super().__init__()
        _check_positions(encoder.config, config.max_length)
        self.config = config
        self.encoder = encoder
        hidden_size = encoder.config.hidden_size
        self.pooler = nn.Linear(hidden_size, hidden_size)
        self._take_over_pooler()
        dropout = getattr(encoder.config, "dropout", 0.1)  # DistilBERT's name for it
        self.dropout = nn.Dropout(getattr(encoder.config, "hidden_dropout_prob", dropout))
        shape = (len(config.domain_names), len(config.label_names))
        self.head_weight = nn.Parameter(torch.empty(*shape, hidden_size).normal_(std=0.02))
        self.head_bias = nn.Parameter(torch.zeros(shape))

    @property
    def num_domains(self) -> int:
        """K."""
        return len(self.config.domain_names)

    @property
    def encoder_config(self) -> PretrainedConfig:
        """The encoder's Hugging Face configuration."""
        return self.encoder.config

    @property
    def num_layers(self) -> int:
        """Encoder layers: N of a teacher, L of a student."""
        return int(self.encoder.config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.encoder.config.hidden_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        domain_ids: Tensor,
        *,
        hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
    ) -> ClassifierOutput:
        """Classify a batch that may mix domains.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) int64, 1 for real tokens.
            domain_ids: (B,) int64; -1 asks for the mean of all heads' probabilities, returned as log-probabilities.
            hidden_states: Whether to return all levels.
            attention_layers: 1-based layers whose queries, keys and values are returned.

        Raises:
            CheckpointError: The encoder's projections cannot be found.
        """
        with record_attention(self.encoder, attention_layers) as attention:
            encoded = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                output_hidden_states=hidden_states,
                **self._token_types(input_ids),
            )
        pooled = ACTIVATIONS[self.config.activation](self.pooler(encoded[0][:, 0]))
        logits = self._route(self.dropout(pooled), domain_ids)
        return ClassifierOutput(logits, tuple(encoded.hidden_states or ()), tuple(attention))

    def _route(self, pooled: Tensor, domain_ids: Tensor) -> Tensor:
        """Apply every head to (B, H) and keep each row's own: (B, C)."""
        all_logits = torch.einsum("bh,kch->bkc", pooled, self.head_weight) + self.head_bias
        rows = torch.arange(pooled.shape[0], device=pooled.device)
        own = all_logits[rows, domain_ids.clamp(min=0)]
        mean = all_logits.float().softmax(dim=-1).mean(dim=1).log().to(own.dtype)
        return torch.where((domain_ids < 0).unsqueeze(-1), mean, own)

    def _token_types(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Derive token types from the separators, so that no caller and no graph input has to carry them."""
        if not self.config.text_pairs or getattr(self.encoder.config, "type_vocab_size", 0) < 2:
            return {}
        separators = (input_ids == self.config.separator_id).long()
        before = separators.cumsum(dim=1) - separators
        return {"token_type_ids": before.clamp(max=1)}

    def _take_over_pooler(self) -> None:
        """Start from the encoder's own pooler where it has one, and remove it there, so that it exists once."""
        pooler = getattr(self.encoder, "pooler", None)
        if pooler is None:
            nn.init.normal_(self.pooler.weight, std=0.02)
            nn.init.zeros_(self.pooler.bias)
            return
        if not isinstance(getattr(pooler, "dense", None), nn.Linear):
            raise CheckpointError(
                f"the pooler of `{type(self.encoder).__name__}` has an unknown form",
                hint="use a BERT, RoBERTa, DistilBERT, ELECTRA, MPNet or DeBERTa encoder",
            )
        self.pooler.load_state_dict(pooler.dense.state_dict())
        setattr(self.encoder, "pooler", None)  # noqa: B010  (torch's stubs let no module become None)


def _check_positions(encoder: PretrainedConfig, max_length: int) -> None:
    """Refuse inputs longer than the encoder's position table; indexing it would fail at the first long text."""
    positions = getattr(encoder, "max_position_embeddings", max_length)
    if "roberta" in encoder.model_type or encoder.model_type in ("camembert", "data2vec-text", "mpnet"):
        positions -= int(encoder.pad_token_id or 0) + 1  # its position numbers start behind the padding's
    if max_length > positions:
        raise RecipeError(
            f"`data.max_length` is {max_length}, the encoder ({encoder.model_type}) has only {positions} positions",
            hint=f"set `data.max_length: {positions}` or less",
        )
